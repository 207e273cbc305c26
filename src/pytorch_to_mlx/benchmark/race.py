"""Contenders in turns: fresh processes for the cold start, then all loaded, warmed up and measured step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TypeVar

from pytorch_to_mlx.benchmark.contender import Contender
from pytorch_to_mlx.benchmark.contenders.serving import Setting
from pytorch_to_mlx.benchmark.process import Child, about, started
from pytorch_to_mlx.benchmark.results import AUDIO, COLD, IMPORT, LOAD, PEAK, Measured, Race, Reading
from pytorch_to_mlx.benchmark.steps import Asked, Step
from pytorch_to_mlx.benchmark.workload import Item
from pytorch_to_mlx.errors import BenchmarkError, PytorchToMlxError

Note = Callable[[str], None]
Progress = Callable[[str, int, int], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """How often everything is done.

    Attributes:
        runs: that are measured.
        warmup: before them, unmeasured.
        cold_starts: of each contender; 0 for none.
        threads: that each contender computes with.
    """

    runs: int = 5
    warmup: int = 2
    cold_starts: int = 3
    threads: int = 1

    def __str__(self) -> str:
        def several(count: int, what: str) -> str:
            return f"{count} {what}{'' if count == 1 else 's'}"

        warm, cold = f"after {self.warmup} to warm up", several(self.cold_starts, "cold start")
        return f"{several(self.runs, 'run')} in turns {warm}, {cold}, {several(self.threads, 'thread')}"


@dataclass(frozen=True)
class Entrant:
    """How a contender is asked, what it is told when it starts, and the files that it loads."""

    asked: Asked
    setting: Setting
    files: tuple[Path, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(path.stat().st_size for path in self.files)


Entrants = Mapping[Contender, Entrant]
SAME_LENGTH = 0.2
"""Seconds by which speech may differ whose length was told: some leave out a token or two, or add silence."""


def run(
    race: Race, entrants: Entrants, items: Sequence[Item], plan: Plan, audio: Path, note: Note, progress: Progress
) -> None:
    """Measure contenders, and put what was found into `race`.

    Args:
        race: what is known before; it gets an entrant for each contender that came through, and who did not.
        entrants: how each contender is asked; the first is compared with the others.
        items: what each does.
        plan: how often.
        audio: a folder for what is said in the last run.
        note: called with a line at each phase.
        progress: called with what is counted, how much of it is done, and all of it.

    Raises:
        BenchmarkError: the first contender failed, or of models side by side the last. Another that fails is left
            out, with its reason.
    """
    Run(race, entrants, tuple(items), plan, audio, note, progress).all()


@dataclass
class Run:
    """What `run` is given, and how far it is: what was measured of those that are still in it, and their processes."""

    race: Race
    entrants: Entrants
    items: tuple[Item, ...]
    plan: Plan
    audio: Path
    note: Note
    progress: Progress
    measured: dict[Contender, Measured] = field(default_factory=dict)
    children: dict[Contender, Child] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.measured = {each: Measured(each.name, entrant.size) for each, entrant in self.entrants.items()}

    def all(self) -> None:
        """Every phase."""
        if self.plan.cold_starts:
            for contender in self._in_turn(0):
                self.note(f"{contender.name}: starts once, unmeasured")
                self._attempt(contender, lambda contender=contender: self._start(contender, measured=False))
        for number in range(self.plan.cold_starts):
            for contender in self._in_turn(number):
                self.note(f"{contender.name}: cold start {number + 1} of {self.plan.cold_starts}")
                self._attempt(contender, lambda contender=contender: self._start(contender))
        with ExitStack() as stack:
            for contender in self._in_turn(0):
                self._attempt(contender, lambda contender=contender: self._load(contender, stack))
            self._rounds()
            for contender in self._in_turn(0):
                self._attempt(contender, lambda contender=contender: self._check_length(contender))
            for contender in self._in_turn(0):
                facts = self.measured[contender].facts = about(contender, self.children[contender])
                self.measured[contender].add([Reading(PEAK, "", facts["peak"] / 1e9)])
        self.race.entrants = list(self.measured.values())

    def _in_turn(self, number: int) -> list[Contender]:
        """Those that are still in it, each round beginning with another."""
        names = list(self.measured)
        number %= max(1, len(names))
        return names[number:] + names[:number]

    def _start(self, contender: Contender, *, measured: bool = True) -> None:
        """Start a fresh process, which works until its first output."""
        entrant = self.entrants[contender]
        with started(contender, entrant.setting) as child:
            cold = entrant.asked.cold(child, self.items[0])
            if measured:
                self.measured[contender].add([*_parts(child), *([] if cold is None else [Reading(COLD, "", cold)])])

    def _load(self, contender: Contender, stack: ExitStack) -> None:
        entrant = self.entrants[contender]
        self.note(f"{contender.name}: loads{' and warms up' if self.plan.warmup else ''}")
        child = self.children[contender] = stack.enter_context(started(contender, entrant.setting))
        if not self.plan.cold_starts:  # else those tell, whose sum is the cold start
            self.measured[contender].add(_parts(child))
        steps = entrant.asked.steps(self.items) * self.plan.warmup
        for done, step in enumerate(steps, 1):
            for _ in entrant.asked.measure(child, step):
                pass
            self.progress(f"{self.race.title}: {contender.name} warms up", done, len(steps))

    def _rounds(self) -> None:
        """All runs, or those that were finished when somebody ended it: an unfinished one counts for nobody."""
        for number in range(self.plan.runs):
            readings: dict[Contender, list[Reading]] = {each: [] for each in self.measured}
            try:
                self._round(number, readings)
            except KeyboardInterrupt:
                if number == 0:
                    raise
                self.race.interrupted = True
                self.race.remarks.append(f"It was interrupted after {number} of {self.plan.runs} runs.")
                return
            for contender, found in self.measured.items():
                found.add(readings[contender])

    def _round(self, number: int, readings: Mapping[Contender, list[Reading]]) -> None:
        steps = next(iter(self.entrants.values())).asked.steps(self.items)
        what = f"{self.race.title}: runs"
        self.note(f"run {number + 1} of {self.plan.runs}")
        for done, step in enumerate(steps):
            self.progress(what, number * len(steps) + done, self.plan.runs * len(steps))
            for contender in self._in_turn(number):
                self._attempt(
                    contender,
                    lambda contender=contender, step=step: self._measure(contender, step, number, readings[contender]),
                )
        self.progress(what, (number + 1) * len(steps), self.plan.runs * len(steps))

    def _measure(self, contender: Contender, step: Step, number: int, readings: list[Reading]) -> None:
        asked, child, found = self.entrants[contender].asked, self.children[contender], self.measured[contender]
        readings += asked.measure(child, step)
        if number == self.plan.runs - 1 and step[1]:
            path = self.audio / f"{len(found.audio)}-{list(self.entrants).index(contender)}.wav"
            if asked.keep(child, step, path):
                found.audio[step[1].name] = path

    def _check_length(self, contender: Contender) -> None:
        """Raises `BenchmarkError` where it was told how long to speak, and did not speak as long as the first."""
        entrant, first = self.entrants[contender], next(iter(self.measured))
        told = entrant.setting.exact and entrant.asked.choice.tokens_per_second and not self.race.side_by_side
        for item in self.items if told else ():
            own, its = (median(self.measured[each].of(AUDIO, item.name)) for each in (first, contender))
            if abs(own - its) > SAME_LENGTH:
                raise BenchmarkError(f"of {item.name} it said {its:.2f} s, {first.name} {own:.2f} s")

    def _attempt(self, contender: Contender, work: Callable[[], None]) -> None:
        """Work that drops the contender if it fails, unless it is ours with others beside it, or the last."""
        try:
            work()
        except PytorchToMlxError as error:
            ours = contender is next(iter(self.entrants)) and not self.race.side_by_side
            if ours or len(self.measured) == 1:
                raise BenchmarkError(f"{contender.name}: {error}") from error
            self.race.left_out[contender.name] = str(error)
            self.note(f"{contender.name} is left out: {error}")
            del self.measured[contender]


def _parts(child: Child) -> list[Reading]:
    """What a process spent before it was asked anything."""
    return [Reading(IMPORT, "", child.loaded["import"]), Reading(LOAD, "", child.loaded["load"])]
