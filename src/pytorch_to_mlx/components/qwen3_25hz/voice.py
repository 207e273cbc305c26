"""What is taken from the recording of a voice: qwen_tts/core/tokenizer_25hz/vq/speech_vq.py, XVectorExtractor."""

from __future__ import annotations

from functools import cache

import numpy as np

from pytorch_to_mlx.audio.kaldi import fbank
from pytorch_to_mlx.audio.spectrum import mel_filters
from pytorch_to_mlx.components.qwen3_25hz.config import HOP, RATE
from pytorch_to_mlx.errors import AudioError

MELS, TRANSFORM, WINDOW, HIGHEST = 80, 1024, 640, 8000.0
PEAK = 10 ** (-6 / 20)
LEAST_SECONDS = 0.1  # of less, the DiT's speaker encoder would reflect more than there is
MOST_SECONDS = 60.0


def normed(samples: np.ndarray) -> np.ndarray:
    """Samples, (n,), at 16 kHz, clipped, with their peak at -6 dB, as `sox norm -6` leaves them.

    Raises:
        AudioError: shorter than a tenth of a second, or longer than a minute.
    """
    seconds = samples.size / RATE
    if seconds < LEAST_SECONDS:
        raise AudioError(f"the reference lasts {seconds:.3f} s; a voice needs more than {LEAST_SECONDS} s")
    if seconds > MOST_SECONDS:
        raise AudioError(f"the reference lasts {seconds:.0f} s, more than {MOST_SECONDS:g} s; cut it")
    samples = np.clip(samples, -1, 1)
    peak = np.abs(samples).max()
    return samples * np.float32(PEAK / peak) if peak else samples


def features(samples: np.ndarray) -> np.ndarray:
    """What CAM++ is given of normed samples: log energies less their means, (frames, 80) float32."""
    bands = fbank(samples)
    return bands - bands.mean(axis=0, keepdims=True)


def reference_mel(samples: np.ndarray) -> np.ndarray:
    """Log magnitudes of normed samples in 80 mel bands up to 8 kHz, (n // 160, 80) float32.

    In float64, once per voice: in float32 a quiet band errs up to three times as much as upstream's own.
    """
    padded = np.pad(samples.astype(np.float64), (TRANSFORM - HOP) // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, TRANSFORM)[::HOP]
    magnitudes = np.sqrt(np.square(np.abs(np.fft.rfft(frames * _window()))) + 1e-9)
    return np.log(np.maximum(magnitudes @ _filters(), 1e-5)).astype(np.float32)


@cache
def _window() -> np.ndarray:
    """A Hann window in the middle of what is transformed."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    return np.pad(hann, (TRANSFORM - WINDOW) // 2)


@cache
def _filters() -> np.ndarray:
    return np.array(mel_filters(RATE, TRANSFORM, MELS, 0.0, HIGHEST)).astype(np.float64)
