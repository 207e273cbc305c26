"""What the contenders of benchmarks/qwen3_tts.py share besides."""

from __future__ import annotations

from abc import abstractmethod

from serving import Contender

REF_TEXT = "The quick brown fox jumps over the lazy dog."
LANGUAGE = "english"
FIRST = 4
"""Frames of the first packet: a third of a second."""


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
        """Draw frames of so many utterances at once; returns how many of each."""

    @abstractmethod
    def decode(self, frames: int) -> int:
        """The sound of random frames; returns samples."""

    def first_audio(self, frames: int) -> int:
        """As `synthesize`, until the first samples come: all of them, unless it streams."""
        return self.synthesize(frames)
