"""What the contenders at Chatterbox share besides."""

from __future__ import annotations

from abc import abstractmethod

from speech_serving import SpeechContender

SPEECH_TOKENS = 6561
"""Ids from here on are special. Where a setting is `exact`, they are kept from being drawn: all speak equally long."""
NEVER = -1e9
OPTIONS = ("exaggeration", "cfg_weight", "temperature", "top_p", "min_p", "repetition_penalty")
"""That contenders other than ours heed."""


class ChatterboxContender(SpeechContender):
    """One implementation of Chatterbox. The options say how tokens are drawn, under names that all share."""

    @abstractmethod
    def t3(self, tokens: int) -> None:
        """Draw speech tokens, and no more."""

    @abstractmethod
    def flow(self, tokens: int) -> None:
        """Turn speech tokens into a mel spectrogram, and no more."""

    @abstractmethod
    def vocoder(self, tokens: int) -> None:
        """Turn the mel frames of so many tokens into a waveform, and no more."""
