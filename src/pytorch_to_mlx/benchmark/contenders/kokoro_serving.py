"""What the contenders at Kokoro share besides."""

from __future__ import annotations

import time
from abc import abstractmethod

import numpy as np
from serving import Setting
from speech_serving import SpeechContender

OPTIONS = ("speaker", "phonemes")
"""That contenders other than ours heed."""
WIDTH, STYLE, RATE = 512, 256, 24000


class KokoroContender(SpeechContender):
    """One implementation of Kokoro. A text is phonemes, each line of which is said in a pass of its own."""

    @classmethod
    def refusal(cls, setting: Setting) -> str:
        if cls.options is not None and not setting.options.get("phonemes"):
            return "it takes phonemes alone: set phonemes = true in the workload"
        return super().refusal(setting)

    @abstractmethod
    def say(self, line: str) -> np.ndarray:
        """A pass with the voice that the options name, timed from frames on as the span "sound"; returns samples."""

    def synthesize(self, limit: int) -> int:
        started = time.perf_counter()
        said = [self.say(line) for line in self.text.splitlines()]
        sound = self.watch.spans["sound"]
        self.watch.spans = {"frames": time.perf_counter() - started - sound, "sound": sound}
        return self.heard(np.concatenate(said), RATE)

    def first_audio(self, limit: int) -> int:
        return self.heard(self.say(self.text.splitlines()[0]), RATE)

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
