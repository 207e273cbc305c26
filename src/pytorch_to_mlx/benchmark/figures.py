"""Plots of a race: speed and first output, cold start and memory, stages. Each is a PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import zip_longest
from statistics import median
from typing import TYPE_CHECKING

from pytorch_to_mlx.benchmark.results import (
    COLD,
    FIRST,
    IMPORT,
    LATENCY,
    LOAD,
    PEAK,
    SPEED,
    VOICE,
    Measured,
    Race,
    number,
)
from pytorch_to_mlx.presentation.plots import DPI, FAINT, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# From the palette of Okabe and Ito (2008), which colour-blind people can tell apart.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#8C96A0")
REST, TEXT, QUIET = "#C9D1D8", "#1b2128", "#5a6672"
WIDTH, BAR, COLUMNS = 12.0, 0.62, 4
NAME = 28
"""Characters of a name that there is room for."""
ROOM = 1.3
"""Of an axis, as a multiple of its longest bar: labels stand behind bars."""


def speed(race: Race) -> bytes:
    """x real time, latency and the first output of every item."""
    rows = (
        (SPEED, "x real time (larger is faster)"),
        (LATENCY, "latency in seconds"),
        (FIRST, f"{race.first} in seconds"),
    )
    lines = [race.items[first : first + COLUMNS] for first in range(0, len(race.items), COLUMNS)]
    figure = new_figure(WIDTH, len(rows) * (len(lines) * _height(race, 0.5) + 0.3))
    for (measure, title), panel in zip(rows, figure.subfigures(len(rows), 1, squeeze=False)[:, 0], strict=True):
        panel.suptitle(title, x=0.01, ha="left", fontsize=11, color=TEXT)
        found = {item: [v for each in race.entrants for v in each.of(measure, item)] for item in race.items}
        longest = {item: max(values, default=1.0) for item, values in found.items()}
        most = max(longest.values())
        grid = panel.subplots(len(lines), len(lines[0]), sharey=True, squeeze=False)
        for item, axes in zip_longest(race.items, grid.flat):
            if item is None:  # the last line is shorter
                axes.set_visible(False)
                continue
            # Speeds are compared from item to item; seconds are of items of different length.
            reach = most if measure == SPEED else longest[item]
            _bars(axes, race.entrants, {each.name: each.of(measure, item) for each in race.entrants}, reach)
            axes.set_title(_short(item), loc="left", fontsize=10, color=TEXT)
            if measure == SPEED and most > 0.8:
                axes.axvline(1, color=QUIET, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
    return _png(figure)


def start(race: Race) -> bytes | None:
    """Cold start by what it is spent on; None where it was not measured."""
    measured = [each for each in race.entrants if each.of(COLD)]
    if not measured:
        return None
    parts: dict[str, dict[str, float]] = {}
    for each in measured:
        own = {"libraries": median(each.of(IMPORT)), "model": median(each.of(LOAD))}
        first = f"{race.first}, voice included" if VOICE in race.starting else race.first
        parts[each.name] = {**own, first: max(0.0, median(each.of(COLD)) - sum(own.values()))}
    figure = new_figure(WIDTH, _height(race, 0.9))
    axes = figure.subplots()
    _stacked(axes, parts)
    axes.set_title(f"seconds from starting a process to its {race.first}", loc="left", fontsize=10, color=TEXT)
    return _png(figure)


def memory(race: Race) -> bytes:
    """Peak memory and size on disk."""
    figure = new_figure(WIDTH, _height(race, 0.5))
    sizes = {
        "peak memory in GB": {each.name: each.of(PEAK) for each in race.entrants},
        "folder in GB": {each.name: [each.size / 1e9] for each in race.entrants},
    }
    for axes, (title, values) in zip(figure.subplots(1, 2, sharey=True), sizes.items(), strict=True):
        _bars(axes, race.entrants, values, max(max(found) for found in values.values()))
        axes.set_title(title, loc="left", fontsize=10, color=TEXT)
    return _png(figure)


def stages(race: Race) -> bytes | None:
    """What the last item's time is spent on; None where no contender tells."""
    item = race.items[-1]
    parts = {each.name: _medians(each, item) for each in race.entrants}
    if not any(parts.values()):
        return None
    figure = new_figure(WIDTH, _height(race, 0.9))
    axes = figure.subplots()
    _stacked(axes, parts)
    axes.set_title(f"{_short(item)}: seconds of one request by stage", loc="left", fontsize=10, color=TEXT)
    return _png(figure)


def _medians(entrant: Measured, item: str) -> dict[str, float]:
    return {stage: median(found[item]) for stage, found in entrant.stages.items() if item in found}


def _bars(axes: Axes, entrants: Sequence[Measured], values: Mapping[str, Sequence[float]], longest: float) -> None:
    """A bar as long as the median for each contender, a dot for each run, and the median in figures."""
    for place, (each, colour) in enumerate(zip(entrants, _colours(len(entrants)), strict=True)):
        if not (found := values[each.name]):
            continue
        axes.barh(place, median(found), BAR, color=colour)
        if len(found) > 1:
            axes.plot(found, [place] * len(found), "o", color=TEXT, markersize=3.2, alpha=0.55, markeredgewidth=0)
        label = (max(found) + 0.02 * longest, place)
        axes.annotate(number(median(found)), label, va="center", fontsize=9.5, color=TEXT)
    _dress(axes, [each.name for each in entrants], longest)


def _stacked(axes: Axes, parts: Mapping[str, Mapping[str, float]]) -> None:
    """A bar of parts for each contender, and their sum in figures."""
    names = list(dict.fromkeys(name for each in parts.values() for name in each if name != "rest"))
    colours = dict(zip(names, _colours(len(names)), strict=True))
    if any("rest" in each for each in parts.values()):
        colours["rest"] = REST
    ends = dict.fromkeys(parts, 0.0)
    for name, colour in colours.items():
        lengths = [each.get(name, 0.0) for each in parts.values()]
        axes.barh(
            range(len(parts)), lengths, BAR, left=list(ends.values()), color=colour, label=name, edgecolor="white"
        )
        ends = {row: end + length for (row, end), length in zip(ends.items(), lengths, strict=True)}
    longest = max(ends.values())
    for place, end in enumerate(ends.values()):
        if end:
            axes.annotate(number(end), (end + 0.01 * longest, place), va="center", fontsize=9.5, color=TEXT)
    _dress(axes, list(parts), longest)
    axes.set_xlim(0, 1.1 * longest)
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.12), ncols=min(6, len(colours)), frameon=False, fontsize=9.5)


def _dress(axes: Axes, names: Sequence[str], longest: float) -> None:
    """No frame, names beside the bars from the top, a faint grid."""
    axes.set_yticks(range(len(names)), list(map(_short, names)), fontsize=10)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, ROOM * longest or 1.0)
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=9, colors=QUIET)
    axes.tick_params(axis="y", labelsize=10, colors=TEXT)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)


def _colours(count: int) -> list[str]:
    return [PALETTE[i % len(PALETTE)] for i in range(count)]


def _short(name: str) -> str:
    """A name without its middle, if there is no room for that."""
    half = NAME // 2
    return name if len(name) <= NAME else f"{name[: half - 1]}…{name[-half:]}"


def _height(race: Race, more: float) -> float:
    """Inches of a panel with a bar for each contender."""
    return 0.42 * len(race.entrants) + more


def _png(figure: Figure) -> bytes:
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)  # type: ignore[attr-defined]  # names are strangers', and a dollar is one
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()
