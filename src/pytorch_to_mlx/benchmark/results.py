"""What was measured, and what to call it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

LATENCY, SPEED, FIRST = "latency", "x real time", "first output"
COLD, IMPORT, LOAD, VOICE = "cold start", "import", "load", "voice preparation"
TOKEN, PEAK, DEVICE, AUDIO = "each token", "peak memory", "device memory", "audio"

DEFINITIONS = {
    LATENCY: "Seconds from the request to the whole result: all of the speech, or all of the transcript.",
    SPEED: "Seconds of audio, said or heard, for each second of waiting (audio seconds ÷ wall seconds). Larger is "
    "faster; at 1 the model just keeps up with a listener.",
    AUDIO: "Seconds of what was said.",
    "first audio": "Seconds from the request to the first samples that could be played. Where a contender does not "
    "stream, that is when all of it is there.",
    "first token": "Seconds from the request to the first token of the transcript, where a contender tells it.",
    COLD: "Seconds from starting a fresh process to its first audio or token: interpreter, imports, loading the model "
    "from files that were just read, preparing the voice, and the request. Each was started once before, unmeasured: "
    "libraries lie in the page cache, and kernels that a framework compiles and keeps on disk are there.",
    IMPORT: "Seconds from starting the process until its libraries are imported.",
    LOAD: "Seconds from there until the model is in memory.",
    VOICE: "Seconds to analyse the recording whose voice is cloned, where a model clones and a contender can do so "
    "before it speaks.",
    "stages": "Seconds of one whole request by what it is spent on. What no stage tells of is the rest.",
    TOKEN: "Seconds for each token, or frame of speech, that follows the first.",
    PEAK: "The most that the process held at any time, loading included, mapped files included. What lies in a GPU's "
    "own memory is not in it.",
    DEVICE: "The most that the framework says it held on its device, where that is not the CPU.",
    "folder": "Size on disk of the files that the contender loads.",
    "matmul probe": "10^9 float32 operations a second in a product of matrices of 1024 squared, in the contender's own "
    "process after each piece of work: where contenders differ in it, they did not have the same machine.",
    "median (lowest to highest)": "Of the runs. Contenders work in turns: each does a step before any does the next, "
    "and each run begins with another one.",
    "times as fast": "The first contender's x real time over another's, taken within each run.",
}
"""Each figure's name, and what it is."""


@dataclass(frozen=True)
class Reading:
    """One number: what was measured, at which item ("" where at none), and its value; of a stage if `stage`."""

    measure: str
    item: str
    value: float
    stage: bool = False


@dataclass
class Measured:
    """All of one contender.

    Attributes:
        name: in tables.
        size: bytes of the files that it loads.
        facts: a line on it, BLAS, probes and memory, as `process.about` has them.
        measures: values by measure and item, one a run.
        stages: seconds by stage and item, one a run.
        audio: what it said, by item: 16-bit WAV files.
    """

    name: str
    size: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    measures: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    stages: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    audio: dict[str, Path] = field(default_factory=dict)

    def add(self, readings: Iterable[Reading]) -> None:
        """Keep what a step gave."""
        for reading in readings:
            table = self.stages if reading.stage else self.measures
            table.setdefault(reading.measure, {}).setdefault(reading.item, []).append(reading.value)

    def of(self, measure: str, item: str = "") -> list[float]:
        """The values of a measure, one a run; none if it was not measured."""
        return self.measures.get(measure, {}).get(item, [])


@dataclass
class Race:
    """Contenders at one task, side by side.

    Attributes:
        title: the model's folder, or what is compared.
        about: model, dtype and how it was measured, a line.
        task: of the models.
        first: what the first output is called.
        items: names of the texts or recordings.
        entrants: what was measured of each; ours first where there are others.
        left_out: who did not take part, and why, with the way out.
        side_by_side: whether its entrants are different models, of which none is ours beside others.
        interrupted: whether somebody ended it when some of its runs were finished.
        remarks: sentences on what is not the same for all.
        asked: the plan, the workload, and each contender's setting: enough to ask the same again.
    """

    title: str
    about: str
    task: str
    first: str
    items: list[str]
    entrants: list[Measured] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    side_by_side: bool = False
    interrupted: bool = False
    remarks: list[str] = field(default_factory=list)
    asked: dict[str, Any] = field(default_factory=dict)

    @property
    def speaks(self) -> bool:
        """Whether its models say texts; else they hear recordings."""
        return self.task == "text to speech"

    @property
    def starting(self) -> list[str]:
        """What was measured of the start: no voice is prepared where a model transcribes, say."""
        return [name for name in (COLD, IMPORT, LOAD, VOICE) if any(each.of(name) for each in self.entrants)]

    @property
    def on_device(self) -> bool:
        """Whether somebody computed elsewhere than on the CPU."""
        return any(each.facts["device"] != "cpu" for each in self.entrants)

    def ratios(self, entrant: Measured, item: str) -> list[float]:
        """How many times as fast the first entrant was as another, by x real time, in each run."""
        if self.side_by_side or entrant is self.entrants[0]:
            return []
        own, its = self.entrants[0].of(SPEED, item), entrant.of(SPEED, item)
        return [a / b for a, b in zip(own, its, strict=True)]

    def as_json(self) -> dict[str, Any]:
        """All of it, with the median, the lowest and the highest of each series."""
        return {
            **{name: value for name, value in vars(self).items() if name != "entrants"},
            "entrants": [
                {
                    "name": each.name,
                    "size": each.size,
                    **each.facts,
                    "measures": _summed_up({self.first if m == FIRST else m: v for m, v in each.measures.items()}),
                    "stages": _summed_up(each.stages),
                    "times as fast": {item: summary(self.ratios(each, item)) for item in self.items},
                }
                for each in self.entrants
            ],
        }


def summary(values: Sequence[float]) -> dict[str, Any] | None:
    """Median, lowest, highest and all values; None of none."""
    if not values:
        return None
    return {"median": median(values), "lowest": min(values), "highest": max(values), "values": list(values)}


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Median, lowest and highest in so many significant digits; empty of none."""
    if not values:
        return ""
    low, middle, high = (number(value, digits) for value in (min(values), median(values), max(values)))
    return middle if len(values) == 1 else f"{middle} ({low} to {high})"


def number(value: float, digits: int = 3) -> str:
    """In so many significant digits, never as a power of ten."""
    rounded = float(f"{value:.{digits}g}")
    magnitude = math.floor(math.log10(abs(rounded))) if rounded else 0
    return f"{rounded:.{max(0, digits - 1 - magnitude)}f}"


def _summed_up(table: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, Any]:
    return {name: {item: summary(values) for item, values in items.items()} for name, items in table.items()}
