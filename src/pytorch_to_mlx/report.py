"""The parity report: what was compared with upstream, how far apart it was, and what each value had to hold."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pytorch_to_mlx.errors import ParityError

FORMAT = 1


@dataclass(frozen=True)
class TapResult:
    """One tap's comparison.

    Attributes:
        kind: "relative" (largest error over the reference's largest magnitude), "decibels" (energy of the error over
            that of the signal, hence negative), "cents" (largest distance in pitch in voiced frames), "exact" (share of
            unequal integers that are no ties), "info" (relative, nothing required).
        shape: of what was compared.
        error, limit: in the unit of `kind`; the tap holds if error <= limit.
        max_abs, correlation: over all finite values.
        floor: upstream's own float32 error against itself in float64, relative, where it was measured.
        compared: "first 4 of 101" where the reference recorded the leading items only.
        ties: indices of unequal integers whose candidates lie closer than 10 times the measured error.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    error: float
    limit: float
    passed: bool
    max_abs: float
    correlation: float
    floor: float | None = None
    compared: str = ""
    ties: tuple[int, ...] = ()


@dataclass(frozen=True)
class CaseResult:
    """All taps of one input, in order of execution, and how much the input exercises (`alive`)."""

    name: str
    taps: tuple[TapResult, ...]
    alive: Mapping[str, float] = field(default_factory=dict)

    @property
    def first_divergence(self) -> str | None:
        """The first tap that does not hold."""
        return next((tap.name for tap in self.taps if not tap.passed), None)


@dataclass(frozen=True)
class Controls:
    """The check of the check: parameters were perturbed in turn, and each must move a tap past its bar.

    Attributes:
        perturbed: how many were.
        unmoved: names of those that no tap noticed.
        left_alone: how many were not perturbed: of networks that another variant proves, or not asked for.
    """

    perturbed: int
    unmoved: tuple[str, ...] = ()
    left_alone: int = 0


@dataclass(frozen=True)
class ParityReport:
    """The comparison of one model folder with upstream.

    Attributes:
        mode: the precision that the bars are for: "float32", "float16", "bfloat16", "8-bit", ...
        upstream: versions of the packages that judged.
        checkpoint: sha256 of the checkpoint that upstream loaded.
        system: what computed our side.
    """

    model_type: str
    variant: str
    mode: str
    reference: str
    upstream: Mapping[str, str]
    checkpoint: str
    system: Mapping[str, str]
    cases: tuple[CaseResult, ...]
    controls: Controls | None

    @property
    def passed(self) -> bool:
        """Whether every tap holds and every control moved one."""
        return all(case.first_divergence is None for case in self.cases) and not (
            self.controls and self.controls.unmoved
        )

    def to_json(self) -> bytes:
        """The text of `parity.json`."""
        fields: dict[str, Any] = {"format": FORMAT, "passed": self.passed, **asdict(self)}
        for case, result in zip(fields["cases"], self.cases, strict=True):
            case["first_divergence"] = result.first_divergence
        return (json.dumps(_plain(fields), indent=1, allow_nan=False) + "\n").encode()

    @classmethod
    def from_json(cls, text: bytes) -> ParityReport:
        """The report that `to_json` wrote.

        Raises:
            ParityError: damaged, or of another format.
        """
        from pydantic import TypeAdapter

        try:
            fields = json.loads(text)
            if fields.get("format") != FORMAT:
                raise ValueError(f"format {fields.get('format')} instead of {FORMAT}")
            return TypeAdapter(cls).validate_python(fields)
        except (ValueError, AttributeError) as error:
            reason = str(error).splitlines()[0]
            raise ParityError(f"no parity report ({reason}); run pytorch-to-mlx validate") from error

    def summary(self) -> str:
        """One line: the verdict, and the worst tap or the first divergence."""
        for case in self.cases:
            if case.first_divergence is not None:
                tap = next(t for t in case.taps if not t.passed)
                return (
                    f"{self.model_type} {self.variant} ({self.mode}): first divergence in case {case.name} at "
                    f"{tap.name}: {error_text(tap)}, allowed {limit_text(tap)}"
                )
        if self.controls and self.controls.unmoved:
            return f"{self.model_type} {self.variant}: no tap notices a change of {', '.join(self.controls.unmoved)}"
        taps = [tap for case in self.cases for tap in case.taps if tap.kind != "info"]
        unjudged = sum(len(case.taps) for case in self.cases) - len(taps)
        worst = max((t.error for t in taps if t.kind == "relative"), default=0.0)
        return (
            f"{self.model_type} {self.variant} ({self.mode}): {len(taps)} taps of {len(self.cases)} cases hold, "
            f"largest relative error {worst:.1e}"
            + (f"; {unjudged} more have no bar" if unjudged else "")
            + (f"; {self.controls.perturbed} controls moved a tap" if self.controls else "")
            + (
                f"; {self.controls.left_alone} parameters were not perturbed"
                if self.controls and self.controls.left_alone
                else ""
            )
        )

    def markdown(self) -> str:
        """Summary and a table for the card: each tap's worst case, or of each stage the tap nearest its limit."""
        lines = [
            f"{'Holds' if self.passed else 'DOES NOT HOLD'}: {self.summary()}.",
            "",
            f"Judged by {', '.join(f'{name} {version}' for name, version in self.upstream.items())}; computed with "
            f"{', '.join(f'{name} {value}' for name, value in self.system.items())}.",
            "",
            "| tap | worst case | error | allowed | upstream's own float32 error | correlation |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for case, tap in nearest_of_stages(worst_taps(self)):
            floor = "" if tap.floor is None else f"{tap.floor:.1e}"
            lines.append(
                f"| {tap.name} | {case} | {error_text(tap)} | {limit_text(tap)} | {floor} | {tap.correlation:.7f} |"
            )
        return "\n".join(lines) + "\n"


def worst_taps(report: ParityReport) -> list[tuple[str, TapResult]]:
    """Each tap once, in order of execution, with the case in which it is nearest to its limit, or farthest beyond.

    A tap of a stage is named after it: `flow/encoder.embed` is the tap `encoder.embed` of cases `flow/...`.
    """
    worst: dict[str, tuple[str, TapResult]] = {}
    orders: dict[str, list[str]] = {}
    for case in report.cases:
        stage = case.name.rpartition("/")[0]
        order = orders.setdefault(stage, [])
        place = 0
        for each in case.taps:
            tap = replace(each, name=f"{stage}/{each.name}") if stage else each
            if tap.name not in order:  # cases differ in their taps: it goes where this case has it
                order.insert(place, tap.name)
            place = order.index(tap.name) + 1
            if tap.name not in worst or _nearness(tap) > _nearness(worst[tap.name][1]):
                worst[tap.name] = (case.name, tap)
    return [worst[name] for order in orders.values() for name in order]


def nearest_of_stages(taps: list[tuple[str, TapResult]]) -> list[tuple[str, TapResult]]:
    """Of each stage the relative tap that is nearest to its limit, what else it is judged by, and all that differs."""
    if not any("/" in case for case, _ in taps):
        return taps
    nearest: dict[str, TapResult] = {}
    for case, tap in taps:
        stage = case.rpartition("/")[0]
        if tap.kind == "relative" and (stage not in nearest or _nearness(tap) > _nearness(nearest[stage])):
            nearest[stage] = tap
    return [
        (case, tap)
        for case, tap in taps
        if not tap.passed or tap.kind not in ("relative", "info") or nearest.get(case.rpartition("/")[0]) is tap
    ]


def _nearness(tap: TapResult) -> tuple[bool, float]:
    """Larger for results that are worse: those that differ, then by how much of what is allowed is used."""
    relative = tap.kind == "relative" and tap.limit > 0
    return not tap.passed, tap.error / tap.limit if relative else tap.error


def error_text(tap: TapResult) -> str:
    """A tap's error with its unit."""
    if tap.kind == "exact":
        ties = f" ({len(tap.ties)} ties)" if tap.ties else ""
        return ("equal" if tap.error == 0 else f"{tap.error:.2%} unequal") + ties
    if tap.kind == "decibels":
        return "equal" if tap.error == -math.inf else f"{-tap.error:.1f} dB"
    return f"{tap.error:.4f} cents" if tap.kind == "cents" else f"{tap.error:.1e}"


def limit_text(tap: TapResult) -> str:
    """What a tap may differ by."""
    texts = {"exact": "equal", "decibels": f"{-tap.limit:g} dB", "cents": f"{tap.limit:g} cents", "info": "-"}
    return texts.get(tap.kind, f"{tap.limit:.0e}")


def _plain(value: Any) -> Any:
    """JSON has no infinities."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
