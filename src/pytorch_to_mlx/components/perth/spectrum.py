"""The short-time Fourier transform of Perth's audio_processor.py, its inverse, and the decibels of its utils.py.

In float64 on the host, once per frame: the network sees logarithms, and in bins that are nearly empty a float32
transform alone errs as much as upstream's own.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil

import numpy as np

N_FFT = 2048
HOP = 320
# A magnitude of -180 dB, the least there is, counts as 0, and one of 15 dB as 1.
FLOOR_DB = -180.0
RANGE_DB = 195.0
LEAST_SAMPLES = N_FFT // 2 + 1
"""Reflection at the ends needs more samples than it adds."""


def framed(samples: np.ndarray) -> np.ndarray:
    """(n,) samples, at least 1025, to overlapping frames centred on every 320th, (1 + n // 320, 2048): a view."""
    padded = np.pad(samples, N_FFT // 2, mode="reflect")
    return np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP]


def spectrum(frames: np.ndarray) -> np.ndarray:
    """(frames, 2048) to (frames, 1025) complex128, under a Hann window."""
    return np.fft.rfft(frames * _hann())


def signal(spectrum: np.ndarray) -> np.ndarray:
    """The least-squares inverse: (frames, 1025) complex to (320 * (frames - 1),) float64."""
    count = len(spectrum)
    summed = _overlap_add(np.fft.irfft(spectrum, N_FFT) * _hann())
    weights = _overlap_add(np.broadcast_to(np.square(_hann()), (count, N_FFT)))
    inner = slice(N_FFT // 2, N_FFT // 2 + HOP * (count - 1))
    return summed[inner] / weights[inner]


def decibels(spectrum: np.ndarray) -> np.ndarray:
    """Magnitudes in decibels, on the scale that the network knows."""
    return (20 * np.log10(np.maximum(np.abs(spectrum), 10 ** (FLOOR_DB / 20))) - FLOOR_DB) / RANGE_DB


def with_decibels(spectrum: np.ndarray, level: np.ndarray) -> np.ndarray:
    """The spectrum with other magnitudes, given in `decibels`; where it is zero, its phase is."""
    magnitude = 10.0 ** np.minimum((level * RANGE_DB + FLOOR_DB) / 20, 10)
    size = np.abs(spectrum)
    phase = np.divide(spectrum, size, out=np.ones_like(spectrum), where=size > 0)
    return magnitude * phase


def _overlap_add(frames: np.ndarray) -> np.ndarray:
    """(count, 2048) to (at least 2048 + 320 * (count - 1),): frames cut into hops, which are added by their place."""
    count, hops = len(frames), ceil(N_FFT / HOP)
    pieces = np.pad(frames, [(0, 0), (0, hops * HOP - N_FFT)]).reshape(count, hops, HOP)
    total = np.zeros((count + hops - 1, HOP))
    for place in range(hops):
        total[place : place + count] += pieces[:, place]
    return total.reshape(-1)


@lru_cache
def _hann() -> np.ndarray:
    """The periodic window as torch.hann_window has it, float32 after each step: its last digit counts in empty bins."""
    angle = np.arange(N_FFT, dtype=np.float32) * np.float32(2 * np.pi / N_FFT)
    cosine = np.cos(angle, dtype=np.float64).astype(np.float32)
    return (cosine * np.float32(-0.5) + np.float32(0.5)).astype(np.float64)
