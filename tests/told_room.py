"""A speaker and a recogniser that do as they are told."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytorch_to_mlx import Audio
from pytorch_to_mlx.models.whisper.languages import known_code
from pytorch_to_mlx.service import checks, speaking
from pytorch_to_mlx.service.cache import ResultCache
from pytorch_to_mlx.service.job import Job, WordsCheck
from pytorch_to_mlx.service.narration import Narration, narrate
from pytorch_to_mlx.tasks import SpeechModel, Transcriber, Transcript, Utterance, Voice

RATE = 8000
CONFIG = {"format_version": 1, "model_type": "whisper", "dtype": "float32", "config": {}}
CONFIG |= {"source": {"kind": "file", "location": "x.pt"}, "converter": {"version": "0"}}


class Room:
    """A speech model whose sounds are numbers of takes, and a recogniser that hears of each what it was told to.

    Attributes:
        heard: what each take of a text is heard as; the last for all others. What is not told is heard as it is said.
        alike: how much each take of a text is like its voice, likewise.
        takes: what was said, by the number that its sound holds.
        languages: that the recogniser was given.
        loads: of models, by their folders' names.
    """

    sample_rate, tokens_per_second, at_once = RATE, 25.0, 4

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.heard: dict[str, Sequence[str]] = {}
        self.alike: dict[str, Sequence[float]] = {}
        self.takes: list[Utterance] = []
        self.languages: list[str | None] = []
        self.loads: Counter[str] = Counter()
        self.hears, self.loud = "en", 0.5
        for name, task in (("model", "text to speech"), ("small", "text to speech"), ("asr", "transcription")):
            (folder / name).mkdir()
            (folder / name / "config.json").write_text(json.dumps(CONFIG | {"task": task, "variant": name}))

    def load(self, folder: Path) -> Any:
        self.loads[folder.name] += 1
        return self

    # As a speech model

    def prepare_voice(self, audio: Audio, text: str | None = None) -> Voice:
        return Voice("numbers", {})

    def likeness(self, first: Any, second: Any) -> float:
        return self._told(self.alike, first, 1.0)

    def synthesize(self, text: str, **given: Any) -> Audio:
        return self.synthesize_all([Utterance(text, seed=given["seed"])])[0]

    def stream(self, text: str, **given: Any) -> Iterator[Audio]:
        yield self.synthesize(text, **given)

    def synthesize_all(self, utterances: Sequence[Utterance], **settings: Any) -> list[Audio]:
        first = len(self.takes)
        self.takes += utterances
        return [self._sound(first + place) for place in range(len(utterances))]

    def _sound(self, number: int) -> Audio:
        samples = np.full(RATE, self.loud, np.float32)
        samples[:] *= (1 + number) / 100
        return Audio(samples, RATE)

    # As a recogniser

    def known_language(self, language: str) -> str | None:
        return known_code(language, 99)

    def transcribe(self, audio: Audio, *, language: str | None = None, **settings: Any) -> Transcript:
        self.languages.append(language)
        return Transcript(f" {self._told(self.heard, audio, self.take(audio).text)}", language or self.hears, ())

    def take(self, audio: Audio) -> Utterance:
        return self.takes[self._number(audio)]

    def _number(self, audio: Audio) -> int:
        return round(float(audio.samples[0]) / self.loud * 100) - 1

    def _told(self, table: Mapping[str, Sequence[Any]], audio: Audio, otherwise: Any) -> Any:
        text = self.take(audio).text
        told = table.get(text, [otherwise])
        before = sum(each.text == text for each in self.takes[: self._number(audio)])
        return told[min(before, len(told) - 1)]

    # As a narration

    def job(self, most: float = 0.1, **changes: Any) -> Job:
        return Job(**{"model": self.folder / "model", "checks": [WordsCheck(self.folder / "asr", most)], **changes})

    def narrate(self, script: Sequence[Any], job: Job | None = None) -> Narration:
        self.takes.clear()
        cache = ResultCache(self.folder / "cache")
        return narrate(script, self.folder / "out", job or self.job(), cache=cache)


def made_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    """One that narrations load all models from."""
    room = Room(folder)
    assert isinstance(room, SpeechModel) and isinstance(room, Transcriber)
    for module in (speaking, checks):
        monkeypatch.setattr(module, "load", room.load)
    return room
