"""What the contenders at Whisper share besides."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from transcription_serving import TranscriptionContender

FRAMES, POSITIONS = 3000, 1500
RATE = 16000


class WhisperContender(TranscriptionContender):
    """One implementation of Whisper."""

    @abstractmethod
    def encode(self) -> int:
        """The states of a window's `spectrum`; returns how many."""

    @abstractmethod
    def decode(self, tokens: int, beams: int) -> int:
        """A text of so many tokens, which no end cuts off, of `states`, by a search of so many beams (0: greedy), with
        all rules of a transcription; returns how many tokens, 0 where it has no such search."""


def spectrum(mels: int) -> np.ndarray:
    """Of a window, (1, 3000, mels)."""
    return np.float32(0.5) * np.random.default_rng(0).standard_normal((1, FRAMES, mels), np.float32)


def states(width: int) -> np.ndarray:
    """As an encoder's, (1, 1500, width)."""
    return np.random.default_rng(1).standard_normal((1, POSITIONS, width), np.float32)


def endless(end: int, tokens: int, beams: int) -> dict[str, Any]:
    """A decoding's options, by upstream's names."""
    return {
        "language": "en",
        "sample_len": tokens,
        "suppress_tokens": (-1, end),
        **({"beam_size": beams} if beams else {}),
    }


def read(path: str) -> np.ndarray:
    """A recording's samples at 16 kHz, (n,), as a library reads them that all contenders have."""
    import soundfile
    import soxr

    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return soxr.resample(samples.mean(axis=1), rate, RATE)
