"""What the contenders of benchmarks/chatterbox.py share besides."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from serving import Contender

SPEECH_TOKENS = 6561
"""Ids from here on are special. The contenders are kept from drawing them, so that all speak equally long."""
NEVER = -1e9
CHOICE: dict[str, Any] = {
    "exaggeration": 0.5,
    "cfg_weight": 0.5,
    "temperature": 0.8,
    "repetition_penalty": 1.2,
    "min_p": 0.05,
    "top_p": 1.0,
}
"""How tokens are drawn, under the names that all share: upstream's defaults."""


class ChatterboxContender(Contender):
    """One implementation of Chatterbox."""

    @abstractmethod
    def voice(self) -> None:
        """Prepare a voice from the recording, and keep it."""

    @abstractmethod
    def synthesize(self, tokens: int) -> int:
        """Say the text in exactly so many speech tokens; returns samples."""

    @abstractmethod
    def t3(self, tokens: int) -> None:
        """Draw speech tokens, and no more."""

    @abstractmethod
    def flow(self, tokens: int) -> None:
        """Turn speech tokens into a mel spectrogram, and no more."""

    @abstractmethod
    def vocoder(self, tokens: int) -> None:
        """Turn the mel frames of so many tokens into a waveform, and no more."""

    def first_audio(self, tokens: int) -> int:
        """As `synthesize`, until the first samples come: all of them, unless it streams."""
        return self.synthesize(tokens)
