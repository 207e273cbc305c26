"""What the contenders of benchmarks/kokoro.py share besides."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from serving import Contender

WIDTH, STYLE = 512, 256


class KokoroContender(Contender):
    """One implementation of Kokoro."""

    @abstractmethod
    def frames(self) -> int:
        """The text's phonemes to frames; returns how many."""

    @abstractmethod
    def decode(self, frames: int) -> int:
        """The sound of what is `drawn`, with its source; returns samples."""


def style() -> np.ndarray:
    """Of a voice, (1, 256)."""
    return np.float32(0.6) * np.random.default_rng(0).standard_normal((1, STYLE), np.float32)


def drawn(frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A text (1, 512, frames), its pitch in Hz and its loudness, (1, 2 frames)."""
    draw = np.random.default_rng(1)
    text = np.float32(0.2) * draw.standard_normal((1, WIDTH, frames), np.float32)
    pitch = 180 + np.float32(40) * np.sin(np.arange(2 * frames, dtype=np.float32) / 20)
    return text, pitch[None], draw.standard_normal((1, 2 * frames), np.float32)
