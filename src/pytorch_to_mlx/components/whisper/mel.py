"""From 16 kHz samples to log-mel spectra (whisper/audio.py; s3tokenizer/utils.py has it too)."""

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
FRAMES_AT_ONCE = 3000  # 10 MB


def log_mel(samples: np.ndarray, bands: int = MELS) -> mx.array:
    """The log-mel spectrum of one recording, every 10 ms.

    Args:
        samples: (n,) float32 at 16 kHz.

    Returns:
        (n // 160, bands) float32.

    Raises:
        AudioError: no more than 200 samples, which cannot be reflected at the ends.
    """
    if samples.size <= WINDOW // 2:
        raise AudioError(f"the recording has {samples.size} samples at 16 kHz; a speech token needs more than 200")
    log = log_powers(np.pad(samples, WINDOW // 2, mode="reflect"), bands)[:-1]
    return mx.array(compressed(log, log.max()).astype(np.float32))


def log_powers(samples: np.ndarray, bands: int = MELS) -> np.ndarray:
    """Powers of ten of mel bands, every 10 ms.

    Computed in float64 on the host, once per recording: a float32 transform errs up to twice as much as upstream's own
    in quiet bands, and which token wins hangs on them.

    Args:
        samples: (n,) at 16 kHz; a frame has 400 of them.

    Returns:
        ((n - 400) // 160 + 1, bands) float64.
    """
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    parts = [frames[first : first + FRAMES_AT_ONCE] for first in range(0, len(frames), FRAMES_AT_ONCE)]
    return np.concatenate([_log_powers(part.astype(np.float64), bands) for part in parts])


def compressed(log: np.ndarray, loudest: float) -> np.ndarray:
    """What `log_powers` gave as networks take it, of a recording whose loudest band is `loudest`; of the same shape."""
    return np.maximum(log, loudest - DYNAMIC_RANGE) / 4 + 1


def _log_powers(frames: np.ndarray, bands: int) -> np.ndarray:
    spectrum = np.fft.rfft(frames * _hann())
    return np.log10(np.maximum((np.square(spectrum.real) + np.square(spectrum.imag)) @ _filters(bands), 1e-10))


def pad_to_tokens(samples: np.ndarray, rate: int, tokens_per_second: int = 25) -> np.ndarray:
    """Zeros appended so that the length, (n,) at `rate`, is that of a whole number of tokens (S3Tokenizer.pad)."""
    tokens = np.ceil(samples.size / rate * tokens_per_second)
    return np.pad(samples, (0, int(tokens * (rate / tokens_per_second)) - samples.size))


@lru_cache
def _hann() -> np.ndarray:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)


@lru_cache
def _filters(bands: int) -> np.ndarray:
    return np.array(mel_filters(RATE, WINDOW, bands)).astype(np.float64)
