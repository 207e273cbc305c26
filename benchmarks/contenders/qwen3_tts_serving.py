"""What the contenders of benchmarks/qwen3_tts.py share besides."""

from __future__ import annotations

from abc import abstractmethod

from serving import Contender

REF_TEXT = "The quick brown fox jumps over the lazy dog."
LANGUAGE = "english"
FIRST = 4
"""Frames of the first packet: a third of a second."""
OTHERS = (
    "She sells sea shells by the sea shore, and the shells she sells are real.",
    "A journey of a thousand miles begins with a single step, as people say.",
    "All that glitters is not gold, and not all who wander about are lost.",
)
"""What else is said at once, about as long as the text."""


class Qwen3TTSContender(Contender):
    """One implementation of Qwen3-TTS's base models. Seeded ones say no end: all speak equally long."""

    @abstractmethod
    def voice(self) -> None:
        """Prepare a voice from the recording and its text, and keep it."""

    @abstractmethod
    def synthesize(self, frames: int) -> int:
        """Say the text in exactly so many frames, with the kept voice where one is kept; returns samples."""

    @abstractmethod
    def batch(self, frames: int, rows: int) -> int:
        """As `synthesize`, of so many texts at once; returns the samples of the shortest."""

    def texts(self, rows: int) -> list[str]:
        """Of so many utterances."""
        return [self.setting.text, *OTHERS][:rows]

    @abstractmethod
    def decode(self, frames: int) -> int:
        """The sound of random frames; returns samples."""

    def first_audio(self, frames: int) -> int:
        """As `synthesize`, until the first samples come: all of them, unless it streams."""
        return self.synthesize(frames)
