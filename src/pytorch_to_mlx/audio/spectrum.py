"""Framing, short-time spectra and mel filters in MLX."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import mlx.core as mx
import numpy as np


def frame(signal: mx.array, length: int, hop: int) -> mx.array:
    """Overlapping windows of the last axis: (n,) -> (1 + (n - length) // hop, length), without a copy."""
    signal = mx.contiguous(signal)
    count = 1 + (signal.shape[-1] - length) // hop
    return mx.as_strided(signal, (count, length), (hop, 1))


def pad_ends(signal: mx.array, amount: int, mode: Literal["constant", "reflect"]) -> mx.array:
    """Pad (n,) by `amount` on both sides with zeros or by reflection without repeating the edge."""
    if mode == "constant":
        return mx.pad(signal, (amount, amount))
    before = signal[1 : amount + 1][::-1]
    after = signal[-amount - 1 : -1][::-1]
    return mx.concatenate([before, signal, after])


@lru_cache
def hann(length: int) -> mx.array:
    """Periodic Hann window, shape (length,)."""
    phase = 2 * np.pi * np.arange(length) / length
    return mx.array((0.5 - 0.5 * np.cos(phase)).astype(np.float32))


def power_spectrogram(
    signal: mx.array, n_fft: int, hop: int, pad_mode: Literal["constant", "reflect"] = "constant"
) -> mx.array:
    """Squared magnitudes of the centred short-time Fourier transform with a Hann window.

    Args:
        signal: (n,) float32.
        n_fft: window and transform length in samples.
        hop: samples between frames.
        pad_mode: how the ends are extended by n_fft // 2.

    Returns:
        (1 + n // hop, n_fft // 2 + 1) float32.
    """
    frames = frame(pad_ends(signal, n_fft // 2, pad_mode), n_fft, hop) * hann(n_fft)
    spectrum = mx.fft.rfft(frames, axis=-1)
    return mx.square(mx.real(spectrum)) + mx.square(mx.imag(spectrum))


def log_mel(signal: mx.array, rate: int, n_fft: int, hop: int, n_mels: int, fmax: float) -> mx.array:
    """Logarithms of magnitudes in mel bands, floored at 1e-5, as vocoders have them (HiFi-GAN's meldataset.py).

    Args:
        signal: (n,) float32, longer than (n_fft - hop) / 2.
        rate: its samples per second.
        n_fft: window and transform length in samples.
        hop: samples between frames.
        n_mels: bands, up to `fmax` Hz.

    Returns:
        (n // hop, n_mels) float32, for windows that lie within the signal extended by reflection.
    """
    frames = frame(pad_ends(signal, (n_fft - hop) // 2, "reflect"), n_fft, hop) * hann(n_fft)
    spectrum = mx.fft.rfft(frames, axis=-1)
    magnitudes = mx.sqrt(mx.square(mx.real(spectrum)) + mx.square(mx.imag(spectrum)) + 1e-9)
    return mx.log(mx.maximum(magnitudes @ mel_filters(rate, n_fft, n_mels, 0.0, fmax), 1e-5))


def _mel_to_hz(mels: np.ndarray) -> np.ndarray:
    linear = mels * (200.0 / 3)
    return np.where(mels < 15.0, linear, 1000.0 * np.exp((mels - 15.0) * (np.log(6.4) / 27.0)))


def _hz_to_mel(hertz: float) -> float:
    return hertz * 3 / 200.0 if hertz < 1000.0 else 15.0 + np.log(hertz / 1000.0) * 27.0 / np.log(6.4)


@lru_cache
def mel_filters(rate: int, n_fft: int, n_mels: int, fmin: float = 0.0, fmax: float | None = None) -> mx.array:
    """Triangular filters on Slaney's mel scale, each of unit area (Slaney, Auditory Toolbox, 1998).

    Returns:
        (n_fft // 2 + 1, n_mels) float32, so that `power_spectrogram(...) @ mel_filters(...)` is a mel spectrogram.
    """
    fmax = rate / 2 if fmax is None else fmax
    corners = _mel_to_hz(np.linspace(_hz_to_mel(fmin), _hz_to_mel(fmax), n_mels + 2))
    bins = np.linspace(0, rate / 2, n_fft // 2 + 1)[:, None]
    low, centre, high = corners[:-2], corners[1:-1], corners[2:]
    triangles = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
    return mx.array((np.maximum(triangles, 0) * 2 / (high - low)).astype(np.float32))
