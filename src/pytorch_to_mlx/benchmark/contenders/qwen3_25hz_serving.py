"""What the contenders at the 25 Hz tokenizer of Qwen3-TTS share besides."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from serving import Contender

RATE, MELS, XVECTOR, REF_FRAMES = 16000, 80, 192, 120


class TokenizerContender(Contender):
    """One implementation of Qwen3-TTS's 25 Hz tokenizer."""

    @abstractmethod
    def encode(self) -> int:
        """The codes of the recording, of 16 kHz; returns how many."""

    @abstractmethod
    def decode(self, codes: int) -> int:
        """The sound of what is `drawn`, with spans "spectrum" and "vocoder"; returns samples."""


def drawn(codes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random codes (codes,), a voice's vector (192,) and a spectrum of it (frames, 80)."""
    draw = np.random.default_rng(0)
    xvector = draw.standard_normal(XVECTOR, np.float32)
    said = draw.integers(0, 32768, codes)
    return said, xvector / np.linalg.norm(xvector), draw.standard_normal((REF_FRAMES, MELS), np.float32) - 3
