"""What contenders that speak share."""

from __future__ import annotations

import wave
from abc import abstractmethod
from typing import Any

from serving import Contender


class SpeechContender(Contender):
    """One implementation of a model that speaks.

    Attributes:
        samples: what it said last, (n,) float in [-1, 1]; numpy's.
        rate: of them, a second.
    """

    samples: Any = None
    rate = 24000

    def voice(self) -> bool | None:
        """Prepare a voice from the recording, and keep it; False where it prepares none."""

    @abstractmethod
    def synthesize(self, limit: int) -> int:
        """Say the text in at most so many speech tokens (0: as many as it takes); returns samples."""

    def first_audio(self, limit: int) -> int:
        """As `synthesize`, until the first samples come: all of them, unless it streams."""
        return self.synthesize(limit)

    def cold(self, limit: int) -> int:
        """All that a fresh process does until the first samples come."""
        if self.setting.prompt:
            self.voice()
        return self.first_audio(limit)

    def heard(self, samples: Any, rate: int) -> int:
        """Keep what was said; returns how many samples."""
        self.samples, self.rate = samples, rate
        return samples.size

    def seconds(self) -> float | None:
        return None if self.samples is None else self.samples.size / self.rate

    def write(self, path: str) -> None:
        """Write what was said last as 16-bit WAV."""
        with wave.open(path, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(self.rate)
            file.writeframes((self.samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
