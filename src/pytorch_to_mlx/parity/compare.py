"""Comparing taps: how far two recordings of the same computation are apart, and whether that is close enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pytorch_to_mlx.errors import ParityError
from pytorch_to_mlx.report import TapResult

# Two candidates closer than this many times the measured error may be ranked either way.
TIE_FACTOR = 10
INFINITY = float("inf")

Taps = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Ours and the reference's value of each tap."""


@dataclass(frozen=True)
class Bar:
    """What a tap must hold.

    Attributes:
        kind: "relative": largest error over the reference's largest magnitude; "decibels": energy of the reference over
            that of the error; "cents": largest distance in pitch, in frames whose `where` tap exceeds `above`; "exact":
            equal integers, but for ties; "info": reported only.
        limit: the largest error allowed, for "decibels" the least ratio ("exact": unused).
        floors: "relative": where upstream's own float32 error is known, this many times it is allowed too.
        of: "relative": the tap that this one is a mean of, whose largest magnitude counts: means may cancel to nothing.
        where, above: the tap that selects the frames of a "cents" bar.
        same: a tap of integers; frames in which it differs are left to its own bar.
        candidates: tap with a value for each candidate, shape (items, candidates), by which an "exact" mismatch may
            be found a tie: the two values lie closer than 10 times that tap's own error.
        rounded: in place of `candidates`, a tap of the numbers, shape (items, digits), that round to an item's digits:
            each that rounds otherwise lies closer than 10 times that tap's own error to where rounding changes.
    """

    kind: Literal["relative", "decibels", "cents", "exact", "info"]
    limit: float = 0.0
    floors: float = 0.0
    of: str = ""
    where: str = ""
    above: float = 0.0
    same: str = ""
    candidates: str = ""
    rounded: str = ""


FLOAT32 = Bar("relative", 1e-5, floors=2)
"""What float32 networks are held to (docs/parity.md)."""

INFO = Bar("info")
"""Nothing: the tap is reported."""


def compare_tap(
    name: str,
    ours: np.ndarray,
    reference: np.ndarray,
    bar: Bar,
    *,
    floor: float | None = None,
    compared: str = "",
    others: Taps | None = None,
) -> TapResult:
    """Compare one tap of equal shapes.

    Args:
        name: the tap.
        ours, reference: the two values.
        bar: what must hold.
        floor: upstream's own float32 error, to report.
        compared: what part was recorded, to report.
        others: further taps (ours, reference) that the bar refers to.

    A tap of another shape than the reference's does not hold, whatever its bar.

    Raises:
        ParityError: no frame is voiced, or a tap that the bar refers to is missing.
    """
    others = others or {}
    limit = -bar.limit if bar.kind == "decibels" else bar.limit
    if ours.shape != reference.shape:
        compared = f"ours has shape {ours.shape}"
        return TapResult(
            name, bar.kind, reference.shape, INFINITY, limit, False, INFINITY, float("nan"), floor, compared
        )
    ties: tuple[int, ...] = ()
    if bar.kind == "exact":
        error, ties = _mismatches(ours, reference, bar, others)
    elif bar.kind == "cents":
        error, left_out = _cents(name, ours, reference, bar, others)
        compared = compared or (f"but {left_out} frames, whose {bar.same} differ" if left_out else "")
        floor = None  # recorded in Hz
    elif bar.kind == "decibels":
        error = error_to_signal(ours, reference)
        floor = None  # recorded as a ratio of largest magnitudes
    else:
        scale = _scale(name, reference, bar, others)
        error = relative_error(ours, reference) / scale
        floor = None if floor is None else floor / scale  # recorded of its own magnitude
        limit = max(limit, bar.floors * (floor or 0.0))
    a, b = ours.astype(np.float64), reference.astype(np.float64)
    finite = np.isfinite(b) & np.isfinite(a)
    return TapResult(
        name=name,
        kind=bar.kind,
        shape=tuple(reference.shape),
        error=error,
        limit=limit,
        passed=bar.kind == "info" or bool(error <= limit),
        max_abs=float(np.abs(a[finite] - b[finite]).max(initial=0.0)),
        correlation=_correlation(a[finite], b[finite]),
        floor=floor,
        compared=compared,
        ties=ties,
    )


def relative_error(ours: np.ndarray, reference: np.ndarray) -> float:
    """Largest absolute difference over the reference's largest magnitude; infinite where what is not finite differs."""
    a, b = ours.astype(np.float64), reference.astype(np.float64)
    finite = np.isfinite(b)
    if not np.array_equal(np.isfinite(a), finite) or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return INFINITY
    largest = np.abs(b[finite]).max(initial=0.0)
    difference = np.abs(a[finite] - b[finite]).max(initial=0.0)
    if largest == 0:
        return 0.0 if difference == 0 else INFINITY
    return float(difference / largest)


def _scale(name: str, reference: np.ndarray, bar: Bar, others: Taps) -> float:
    """How many times the tap's own largest magnitude the one that counts is."""
    if not bar.of:
        return 1.0
    if bar.of not in others:
        raise ParityError(f"tap {name}: its bar refers to {bar.of}, which was not recorded")
    own, of = (float(np.abs(value.astype(np.float64)).max(initial=0.0)) for value in (reference, others[bar.of][1]))
    return of / own if own and of > own else 1.0


def error_to_signal(ours: np.ndarray, reference: np.ndarray) -> float:
    """Energy of the difference over that of the reference in dB; infinite where anything is not finite."""
    reference = reference.astype(np.float64)
    signal, error = np.sum(np.square(reference)), np.sum(np.square(ours.astype(np.float64) - reference))
    if error == 0:
        return -INFINITY
    return float(10 * np.log10(error / signal)) if signal > 0 and np.isfinite(error) else INFINITY


def _cents(name: str, ours: np.ndarray, reference: np.ndarray, bar: Bar, others: Taps) -> tuple[float, int]:
    """The largest distance in the chosen frames, and how many of those were left to the bar of `bar.same`."""
    if bar.where not in others:
        raise ParityError(f"tap {name}: its bar refers to {bar.where}, which was not recorded")
    chosen = others[bar.where][1] > bar.above
    if not chosen.any():
        raise ParityError(f"tap {name}: no frame has {bar.where} above {bar.above:g}; the recording is dead")
    judged = chosen & np.equal(*others[bar.same]) if bar.same else chosen
    if not judged.any():
        return INFINITY, 0
    distance = np.abs(1200 * np.log2(ours[judged].astype(np.float64) / reference[judged]))
    return float(np.nan_to_num(distance, nan=INFINITY).max()), int(chosen.sum() - judged.sum())


def _mismatches(ours: np.ndarray, reference: np.ndarray, bar: Bar, others: Taps) -> tuple[float, tuple[int, ...]]:
    wrong = np.flatnonzero(ours.reshape(-1) != reference.reshape(-1))
    ties: list[int] = []
    # A small recording leaves the candidates out: then no mismatch is excused.
    if len(wrong) and bar.candidates in others:
        mine, theirs = others[bar.candidates]
        error = np.abs(mine.astype(np.float64) - theirs).max()
        for i in wrong:
            values = theirs[i].astype(np.float64)
            if abs(values[ours.reshape(-1)[i]] - values[reference.reshape(-1)[i]]) < TIE_FACTOR * error:
                ties.append(int(i))
    if len(wrong) and bar.rounded in others:
        mine, theirs = (values.astype(np.float64) for values in others[bar.rounded])
        tied = np.abs(theirs - np.floor(theirs) - 0.5) < TIE_FACTOR * np.abs(mine - theirs).max()
        changed = np.rint(mine) != np.rint(theirs)
        ties += [int(i) for i in wrong if changed[i].any() and tied[i][changed[i]].all()]
    return (len(wrong) - len(ties)) / max(1, reference.size), tuple(ties)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    if a.size < 2 or a.std() == 0 or b.std() == 0:
        return 1.0 if np.array_equal(a, b) else float("nan")
    return float(np.corrcoef(a.reshape(-1), b.reshape(-1))[0, 1])
