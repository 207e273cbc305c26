"""What contenders are asked at each task, and what their replies tell."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytorch_to_mlx.benchmark.contender import Contender
from pytorch_to_mlx.benchmark.process import Child
from pytorch_to_mlx.benchmark.results import AUDIO, FIRST, LATENCY, SPEED, TOKEN, VOICE, Reading
from pytorch_to_mlx.benchmark.workload import Choice, Item
from pytorch_to_mlx.errors import BenchmarkError

Step = tuple[str, Item | None]
"""What is done, and with which item."""

SPANS = {"prefill": "prefill", "decode": "tokens"}
"""What stages are called that a stopwatch reads off tokens; others are called as they are watched."""


class Asked(ABC):
    """One contender, what it is told, and how it is asked."""

    first: str
    """What the first output is called."""

    def __init__(self, contender: Contender, choice: Choice) -> None:
        self.contender = contender
        self.choice = choice

    @abstractmethod
    def cold(self, child: Child, item: Item) -> float | None:
        """Have a fresh process work; returns seconds from its start to its first output, None if it does not tell."""

    @abstractmethod
    def steps(self, items: tuple[Item, ...]) -> list[Step]:
        """Of a run. Every contender does a step before any does the next."""

    @abstractmethod
    def measure(self, child: Child, step: Step) -> Iterator[Reading]:
        """Do a step; it gives nothing where the contender does no such thing.

        Raises:
            BenchmarkError: it failed, or gave nothing that could be measured.
        """

    def keep(self, child: Child, step: Step, path: Path) -> bool:
        """Write the audio that a step just gave as WAV; false if it gave none."""
        return False


class Speaking(Asked):
    """A model that speaks."""

    first = "first audio"

    def cold(self, child: Child, item: Item) -> float:
        return child.ask("cold", self._limit(item), text=self._text(item))["at"]

    def steps(self, items: tuple[Item, ...]) -> list[Step]:
        return [("voice", None), *((what, item) for item in items for what in ("whole", "first"))]

    def measure(self, child: Child, step: Step) -> Iterator[Reading]:
        what, item = step
        if item is None:
            if self.choice.clones and (reply := child.ask("voice"))["result"] is not False:
                yield Reading(VOICE, "", reply["seconds"])
        elif what == "whole":
            reply = child.ask("synthesize", self._limit(item), text=self._text(item))
            if not reply["audio"]:
                raise BenchmarkError("it said nothing")
            yield from whole(reply, item, reply["audio"])
            yield Reading(AUDIO, item.name, reply["audio"])
            if not self.contender.streams:
                yield Reading(FIRST, item.name, reply["seconds"])
        elif self.contender.streams:
            reply = child.ask("first_audio", self._limit(item), text=self._text(item))
            yield Reading(FIRST, item.name, reply["seconds"])

    def keep(self, child: Child, step: Step, path: Path) -> bool:
        if step[0] != "whole":
            return False
        child.ask("write", str(path))
        return True

    def _limit(self, item: Item) -> int:
        return round(item.seconds * self.choice.tokens_per_second)

    def _text(self, item: Item) -> str:
        return item.phonemes.strip() if self.choice.options.get("phonemes") else item.text


class Hearing(Asked):
    """A model that transcribes the recordings of items, which lie in `files` by name."""

    first = "first token"

    def __init__(self, contender: Contender, choice: Choice, files: Mapping[str, Path]) -> None:
        super().__init__(contender, choice)
        self.files = files

    def cold(self, child: Child, item: Item) -> float | None:
        reply = self._transcribe(child, item)
        first = reply["spans"].get("first")
        return None if first is None else reply["at"] - reply["seconds"] + first

    def steps(self, items: tuple[Item, ...]) -> list[Step]:
        return [("whole", item) for item in items]

    def measure(self, child: Child, step: Step) -> Iterator[Reading]:
        _, item = step
        assert item
        reply = self._transcribe(child, item)
        yield from whole(reply, item, seconds_of(self.files[item.name]))
        if "first" in reply["spans"]:
            yield Reading(FIRST, item.name, reply["spans"]["first"])

    def _transcribe(self, child: Child, item: Item) -> dict[str, Any]:
        return child.ask("transcribe", str(self.files[item.name]))


def whole(reply: Mapping[str, Any], item: Item, audio: float) -> Iterator[Reading]:
    """What a whole request tells: latency, x real time of so many seconds of audio, each token, stages, the rest."""
    seconds: float = reply["seconds"]
    spans: dict[str, float] = dict(reply["spans"])
    yield Reading(LATENCY, item.name, seconds)
    yield Reading(SPEED, item.name, audio / seconds)
    spans.pop("first", None)
    if "token" in spans:
        yield Reading(TOKEN, item.name, spans.pop("token"))
    for span, taken in spans.items():
        yield Reading(SPANS.get(span, span), item.name, taken, stage=True)
    if spans:
        yield Reading("rest", item.name, max(0.0, seconds - sum(spans.values())), stage=True)


def seconds_of(path: Path) -> float:
    """The length of a recording."""
    import soundfile

    return soundfile.info(path).duration
