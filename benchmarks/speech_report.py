"""What benchmarks of speech models measured, as Markdown."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any

from table import line, update

from pytorch_to_mlx.benchmark import machine, process
from pytorch_to_mlx.benchmark.contender import OURS, Contender
from pytorch_to_mlx.benchmark.process import Child

GROWTH_LIMIT, FLAT = 1.15, 1.02
"""Time per second of audio may grow by so much with its length in one pass; "not at all" and "flat" are the latter."""


@dataclass(frozen=True)
class Stages:
    """What a benchmark measures.

    Attributes:
        order: of the stages in the table.
        targets: by stage and contender, how many times as fast ours is to be.
        reading: the stage that waits for weights, whose they are, and what they are read for, if one does.
    """

    order: Sequence[str]
    targets: Mapping[str, Mapping[str, float]]
    reading: tuple[str, str, str] | None = None


@dataclass
class Findings:
    """Everything that was measured.

    Attributes:
        about: the setting, in a line.
        measured: what there is to measure.
        stages: seconds by stage, contender and round.
        contenders: what each said of itself: about, preload, import, load, peak, held, device_peak, gflops.
        weights_per_token: bytes of weights that are read for each token, or frame.
        bandwidth: bytes a second that memory was read with, as probed before every stage.
        growth: seconds for each second of audio, by what was said.
        memory: bytes held after each of many syntheses.
        remarks: sentences behind it all.
    """

    about: str
    measured: Stages
    stages: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    contenders: dict[str, dict[str, Any]] = field(default_factory=dict)
    weights_per_token: int = 0
    bandwidth: list[float] = field(default_factory=list)
    growth: dict[str, list[float]] = field(default_factory=dict)
    memory: list[int] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def ratios(self, stage: str, name: str) -> list[float]:
        """How many times faster ours was than another contender, in each round."""
        times = self.stages.get(stage, {})
        if OURS not in times or name not in times:
            return []
        return [other / ours for other, ours in zip(times[name], times[OURS], strict=True)]

    def markdown(self) -> str:
        """All of it."""
        parts = [self.about]
        if self.stages:
            parts += [self._stages(), self._contenders(), self._floor()]
        if self.growth:
            parts.append(self._growth())
        if self.memory:
            parts.append(self._memory())
        return "\n\n".join(filter(None, [*parts, *self.remarks]))

    def _stages(self) -> str:
        names = list(self.contenders)
        others = [name for name in names if name != OURS] if OURS in names else []
        head = ["stage", *(f"{name}, s" for name in names), *(f"{name} / ours" for name in others), "target"]
        return _table(
            head, (self._stage(stage, names, others) for stage in self.measured.order if stage in self.stages)
        )

    def _stage(self, stage: str, names: list[str], others: list[str]) -> list[str]:
        times = self.stages[stage]
        medians = (f"{median(times[name]):.3g}" if name in times else "" for name in names)
        return [stage, *medians, *(_spread(self.ratios(stage, name)) for name in others), self._target(stage)]

    def _target(self, stage: str) -> str:
        told = []
        for name, least in self.measured.targets.get(stage, {}).items():
            if ratios := self.ratios(stage, name):
                told.append(f"{least:g} x {name}: {'met' if median(ratios) >= least else 'missed'}")
        return "; ".join(told)

    def _contenders(self) -> str:
        head = ["contender", "what", "preload", "import, s", "load, s", "peak memory, GB", "then held, GB"]
        head += ["MLX's own peak, GB", "matmul probe, GFLOP/s"]
        rows = (
            [
                name,
                found["about"],
                found["preload"] or "none",
                f"{found['import']:.1f}",
                f"{found['load']:.1f}",
                *(_gigabytes(found[what]) for what in ("peak", "held", "device_peak")),
                _spread(found["gflops"], 0),
            ]
            for name, found in self.contenders.items()
        )
        return _table(head, rows)

    def _floor(self) -> str:
        """What reading the weights alone takes, which no implementation can go below."""
        if self.measured.reading is None or not self.weights_per_token:
            return ""
        stage, reader, what = self.measured.reading
        if stage not in self.stages:
            return ""
        floor = self.weights_per_token / max(self.bandwidth)
        shares = (f"{name} {floor / median(times):.0%}" for name, times in self.stages[stage].items())
        best = max(self.bandwidth) / 1e9
        return (
            f"{reader} reads {self.weights_per_token / 1e9:.3f} GB of weights for each {what}, whatever the batch. "
            f"At the {best:.1f} GB/s that memory was read with at best, that takes {1000 * floor:.0f} ms: the floor. "
            f"Share of it that was reached: {', '.join(shares)}."
        )

    def _growth(self) -> str:
        first = mean(next(iter(self.growth.values())))
        rows = [[what, f"{median(found):.2f}", f"{median(found) / first:.2f}"] for what, found in self.growth.items()]
        return (
            _table([f"{OURS} says", "s for each second of audio", "of the first"], rows)
            + f"\n\nTargets: less than {GROWTH_LIMIT:g} in one pass, no growth (less than {FLAT:g}) in parts."
        )

    def _memory(self) -> str:
        counts = sorted({1, 10, len(self.memory) // 2, len(self.memory)})
        held = ", ".join(f"{self.memory[n - 1] / 1e9:.3f} after {n}" for n in counts if n <= len(self.memory))
        growth = self.memory_growth()
        return (
            f"{len(self.memory)} syntheses of changing length one after another, GB held: {held}. The last fifth holds "
            f"{growth:.3f} of what the second fifth did: {'flat' if growth < FLAT else 'growing'}."
        )

    def memory_growth(self) -> float:
        """What the last fifth of many syntheses held, of what the second fifth did."""
        fifth = max(1, len(self.memory) // 5)
        return median(self.memory[-fifth:]) / median(self.memory[fifth : 2 * fifth] or self.memory)


def _table(head: Sequence[str], rows: Iterator[list[str]] | list[list[str]]) -> str:
    return "\n".join(map(line, [head, ["---", *["---:"] * (len(head) - 1)], *rows]))


def _spread(values: Sequence[float], digits: int = 2) -> str:
    """Median, lowest and highest."""
    if not values:
        return ""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _gigabytes(count: int | None) -> str:
    return "" if count is None else f"{count / 1e9:.2f}"


def describe(findings: Findings, children: dict[Contender, Child]) -> None:
    """What each contender is and held."""
    for contender, child in children.items():
        read = child.loaded["facts"].get("weights_per_token", 0)
        findings.weights_per_token = max(findings.weights_per_token, read)
        findings.contenders[contender.name] = process.about(contender, child)


def as_json(findings: Findings) -> Mapping[str, Any]:
    """The findings with the ratios that the tables show."""
    ratios = {
        stage: {name: found for name in findings.contenders if name != OURS and (found := findings.ratios(stage, name))}
        for stage in findings.stages
    }
    kept = {name: value for name, value in vars(findings).items() if name != "measured"}
    return {**kept, "ratios": ratios}


def setting(threads: int, rounds: int, load: float) -> str:
    """How it was measured; `load` is the machine's before."""
    return (
        f"float32, {threads} threads; {machine.system()}; load average "
        f"{load:.1f} before and {os.getloadavg()[0]:.1f} after. Medians of {rounds} rounds; with ratios, the lowest "
        "and the highest."
    )


def publish(findings: Findings, script: Path, *, in_docs: bool) -> None:
    """Print what was measured, and write it beside the script as JSON, and into docs/benchmarks.md if asked to."""
    print(findings.markdown())
    output = script.parent / "output" / f"{script.stem}.json"
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(as_json(findings), indent=2))
    if in_docs:
        update(script.parent.parent / "docs/benchmarks.md", script.name, findings.markdown())
