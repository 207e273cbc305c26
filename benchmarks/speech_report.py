"""What benchmarks/chatterbox.py measured, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, median
from typing import Any

from table import line

OURS, UPSTREAM, MLX_AUDIO = "pytorch-to-mlx", "upstream PyTorch", "mlx-audio"
TOKEN, WHOLE, FIRST = "T3, each token", "whole synthesis", "first audio"
TARGETS = {
    TOKEN: (MLX_AUDIO, 1.1),
    "flow": (MLX_AUDIO, 3.0),
    "vocoder": (MLX_AUDIO, 30.0),
    WHOLE: (UPSTREAM, 1.0),
}
"""By how many times ours is to be faster, and than whom."""
ORDER = ("voice preparation", "T3 prefill", TOKEN, "flow", "vocoder", "watermark", WHOLE, FIRST)
GROWTH_LIMIT, FLAT = 1.15, 1.02
"""Time per second of audio may grow by so much with its length in one pass; "not at all" and "flat" are the latter."""


@dataclass
class Findings:
    """Everything that was measured.

    Attributes:
        about: the setting, in a line.
        stages: seconds by stage, contender and round.
        contenders: what each said of itself: about, preload, import, load, peak, held, device_peak, gflops.
        weights_per_token: bytes of weights that T3 reads for each token.
        bandwidth: bytes a second that memory was read with, as probed before every stage.
        growth: seconds for each second of audio, by what was said.
        memory: bytes held after each of many syntheses.
    """

    about: str
    stages: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    contenders: dict[str, dict[str, Any]] = field(default_factory=dict)
    weights_per_token: int = 0
    bandwidth: list[float] = field(default_factory=list)
    growth: dict[str, list[float]] = field(default_factory=dict)
    memory: list[int] = field(default_factory=list)

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
        return "\n\n".join(filter(None, parts))

    def _stages(self) -> str:
        names = list(self.contenders)
        others = [name for name in names if name != OURS] if OURS in names else []
        head = ["stage", *(f"{name}, s" for name in names), *(f"{name} / ours" for name in others), "target"]
        return _table(head, (self._stage(stage, names, others) for stage in ORDER if stage in self.stages))

    def _stage(self, stage: str, names: list[str], others: list[str]) -> list[str]:
        times = self.stages[stage]
        medians = (f"{median(times[name]):.3g}" if name in times else "" for name in names)
        return [stage, *medians, *(_spread(self.ratios(stage, name)) for name in others), self._target(stage)]

    def _target(self, stage: str) -> str:
        name, least = TARGETS.get(stage, ("", 0.0))
        ratios = self.ratios(stage, name)
        if not ratios:
            return ""
        return f"{least:g} x {name}: {'met' if median(ratios) >= least else 'missed'}"

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
        """What reading the weights alone takes, which no implementation of a token can go below."""
        if TOKEN not in self.stages or not self.weights_per_token:
            return ""
        floor = self.weights_per_token / max(self.bandwidth)
        shares = (f"{name} {floor / median(times):.0%}" for name, times in self.stages[TOKEN].items())
        return (
            f"T3 reads {self.weights_per_token / 1e9:.3f} GB of weights for each token, whatever the batch. At the "
            f"{max(self.bandwidth) / 1e9:.1f} GB/s that memory was read with at best, that takes "
            f"{1000 * floor:.0f} ms: the floor. Share of it that was reached: {', '.join(shares)}."
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


def as_json(findings: Findings) -> Mapping[str, Any]:
    """The findings with the ratios that the tables show."""
    ratios = {
        stage: {name: found for name in findings.contenders if name != OURS and (found := findings.ratios(stage, name))}
        for stage in findings.stages
    }
    return {**vars(findings), "ratios": ratios}
