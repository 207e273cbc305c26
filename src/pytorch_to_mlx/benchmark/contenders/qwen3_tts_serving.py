"""What the contenders at Qwen3-TTS share besides."""

from __future__ import annotations

from abc import abstractmethod

from speech_serving import SpeechContender

OPTIONS = ("language",)
"""That contenders other than ours heed."""
FIRST = 4
"""Frames of the first packet: a third of a second."""
OTHERS = (
    "She sells sea shells by the sea shore, and the shells she sells are real.",
    "A journey of a thousand miles begins with a single step, as people say.",
    "All that glitters is not gold, and not all who wander about are lost.",
)
"""What else is said at once, about as long as the text."""


class Qwen3TTSContender(SpeechContender):
    """One implementation of Qwen3-TTS's base models. Seeded ones say no end: all speak equally long."""

    @abstractmethod
    def batch(self, frames: int, rows: int) -> int:
        """As `synthesize`, of so many texts at once; returns the samples of the shortest."""

    def texts(self, rows: int) -> list[str]:
        """Of so many utterances."""
        return [self.text, *OTHERS][:rows]

    @abstractmethod
    def decode(self, frames: int) -> int:
        """The sound of random frames; returns samples."""
