"""From 16 kHz samples to log-mel spectra, as s3tokenizer/utils.py and chatterbox/models/s3tokenizer do it alike."""

from __future__ import annotations

from functools import lru_cache

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.audio.spectrum import mel_filters
from pytorch_to_mlx.errors import AudioError

RATE = 16000
HOP = 160
WINDOW = 400
MELS = 128
DYNAMIC_RANGE = 8.0  # in powers of ten below the loudest band


def log_mel(samples: np.ndarray) -> mx.array:
    """The log-mel spectrum of one recording, every 10 ms.

    Computed in float64 on the host, once per recording: a float32 transform errs up to twice as much as upstream's own
    in quiet bands, and which token wins hangs on them.

    Args:
        samples: (n,) float32 at 16 kHz.

    Returns:
        (n // 160, 128) float32.

    Raises:
        AudioError: no more than 200 samples, which cannot be reflected at the ends.
    """
    if samples.size <= WINDOW // 2:
        raise AudioError(f"the recording has {samples.size} samples at 16 kHz; a speech token needs more than 200")
    padded = np.pad(samples.astype(np.float64), WINDOW // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:-1]
    spectrum = np.fft.rfft(frames * _hann())
    mel = (np.square(spectrum.real) + np.square(spectrum.imag)) @ _filters()
    log = np.log10(np.maximum(mel, 1e-10))
    return mx.array((np.maximum(log, log.max() - DYNAMIC_RANGE) / 4 + 1).astype(np.float32))


def pad_to_tokens(samples: np.ndarray, rate: int, tokens_per_second: int = 25) -> np.ndarray:
    """Zeros appended so that the length, (n,) at `rate`, is that of a whole number of tokens (S3Tokenizer.pad)."""
    tokens = np.ceil(samples.size / rate * tokens_per_second)
    return np.pad(samples, (0, int(tokens * (rate / tokens_per_second)) - samples.size))


@lru_cache
def _hann() -> np.ndarray:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)


@lru_cache
def _filters() -> np.ndarray:
    return np.array(mel_filters(RATE, WINDOW, MELS)).astype(np.float64)
