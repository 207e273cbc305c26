"""Kaldi's log-mel filterbank, as torchaudio.compliance.kaldi.fbank computes it with its defaults at 16 kHz."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from pytorch_to_mlx.errors import AudioError

RATE = 16000
WINDOW, HOP, TRANSFORM = 400, 160, 512  # 25 ms every 10 ms, padded to a power of two
LOWEST = 20.0  # Hz
PREEMPHASIS = 0.97
EPSILON = float(np.finfo(np.float32).eps)


def fbank(samples: np.ndarray, n_mels: int = 80) -> np.ndarray:
    """Log energies in mel bands, in float64: quiet bands are differences of loud ones, and a logarithm shows it.

    Args:
        samples: (n,) float32 at 16 kHz, not scaled to 16-bit integers.
        n_mels: number of bands.

    Returns:
        (1 + (n - 400) // 160, n_mels) float32: only whole windows count.

    Raises:
        AudioError: shorter than a window, 25 ms.
    """
    if samples.size < WINDOW:
        raise AudioError(f"the recording lasts {samples.size / RATE * 1000:.0f} ms; at least 25 are needed")
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), WINDOW)[::HOP]
    frames = frames - frames.mean(axis=1, keepdims=True)
    frames = frames - PREEMPHASIS * np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    power = np.square(np.abs(np.fft.rfft(frames * _povey(), n=TRANSFORM)))
    return np.log(np.maximum(power @ _filters(n_mels), EPSILON)).astype(np.float32)


@lru_cache
def _povey() -> np.ndarray:
    """A symmetric Hann window to the power of 0.85."""
    phase = 2 * np.pi * np.arange(WINDOW) / (WINDOW - 1)
    return (0.5 - 0.5 * np.cos(phase)) ** 0.85


@lru_cache
def _filters(n_mels: int) -> np.ndarray:
    """Triangles on the mel scale 1127 ln(1 + f / 700), (257, n_mels); upstream computes their slopes in float32."""

    def mel(hertz: np.ndarray | float) -> np.ndarray:
        return np.asarray(1127.0 * np.log(1.0 + np.asarray(hertz) / 700.0))

    low, high = float(mel(LOWEST)), float(mel(RATE / 2))
    step = (high - low) / (n_mels + 1)
    left = np.float32(low) + np.arange(n_mels, dtype=np.float32) * np.float32(step)
    centre = np.float32(low) + (np.arange(n_mels, dtype=np.float32) + 1) * np.float32(step)
    right = np.float32(low) + (np.arange(n_mels, dtype=np.float32) + 2) * np.float32(step)
    bins = mel(RATE / TRANSFORM * np.arange(TRANSFORM // 2, dtype=np.float32)).astype(np.float32)[:, None]
    triangles = np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre))
    # The highest bin is in no band.
    return np.pad(np.maximum(triangles, 0), [(0, 1), (0, 0)])
