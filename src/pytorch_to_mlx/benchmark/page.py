"""What was measured, as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.benchmark import figures
from pytorch_to_mlx.benchmark.results import (
    AUDIO,
    COLD,
    DEFINITIONS,
    DEVICE,
    FIRST,
    LATENCY,
    PEAK,
    SPEED,
    TOKEN,
    Race,
    number,
    spread,
)
from pytorch_to_mlx.benchmark.tables import contender_rows, devices, item_rows, probe_rows, remarks, stage_rows
from pytorch_to_mlx.presentation import pieces
from pytorch_to_mlx.presentation.html import Section, page


def benchmark_html(title: str, races: Sequence[Race], machine: Mapping[str, str], texts: Mapping[str, str]) -> str:
    """The page: a section for each race, then the machine and how it was measured.

    Args:
        title: of the page.
        races: what was measured.
        machine: its description, a line by name.
        texts: what was said, by item.

    Raises:
        MissingDependencyError: matplotlib, which draws the plots, is not installed.
    """
    lead = "".join(_headline(race) for race in races if race.entrants)
    sections = [section for race in races for section in _sections(race, texts, alone=len(races) == 1)]
    return page(title, [*sections, _measured_how(machine)], lead=lead)


def _headline(race: Race) -> str:
    """What to know of a race at a glance: ours at the last item, or of models side by side the best; and the others."""
    item = race.items[-1]
    figures = (
        (SPEED, item, "", SPEED, max, "larger is faster"),
        (FIRST, item, " s", race.first, min, "after the request"),
        (COLD, "", " s", COLD, min, f"from a fresh process to its {race.first}"),
        (PEAK, "", " GB", PEAK, min, "loading included"),
    )
    shown = []
    for measure, where, unit, name, best, note in figures:
        values = {each.name: median(each.of(measure, where)) for each in race.entrants if each.of(measure, where)}
        if not values:
            continue
        leads = best(values, key=lambda each: values[each]) if race.side_by_side else next(iter(values))
        others = [f"{each} {number(value)}{unit}" for each, value in values.items() if each != leads]
        named = f"{name}: {leads}" if race.side_by_side else name
        shown.append((named, f"{number(values[leads])}{unit}", "; ".join(others) or note))
    whose = "The best of each" if race.side_by_side else f"{race.entrants[0].name} at {race.title}"
    return pieces.paragraph(f"{whose}, on the {item} {'text' if race.speaks else 'recording'}:") + pieces.tiles(shown)


def _sections(race: Race, texts: Mapping[str, str], *, alone: bool) -> list[Section]:
    named = "" if alone else f"{race.title}: "
    about = pieces.paragraph(f"{race.title}: {race.about}.")
    speed = [
        about,
        pieces.image(figures.speed(race), f"{race.title}: x real time, latency and {race.first} of every contender"),
        _defined(SPEED, LATENCY, race.first, *([AUDIO] if race.speaks else [])),
        pieces.table(*item_rows(race)),
        _defined("times as fast") if len(race.entrants) > 1 and not race.side_by_side else "",
        pieces.paragraph(devices(race)) if devices(race) else "",
        *(pieces.paragraph(f"{name} is left out: {reason}") for name, reason in race.left_out.items()),
    ]
    sections = [Section(f"{named}Speed", "".join(speed)), Section(f"{named}Start and memory", _start(race))]
    if (drawn := figures.stages(race)) is not None:
        body = [pieces.image(drawn, f"{race.title}: seconds by stage"), _defined("stages", TOKEN)]
        sections.append(Section(f"{named}Stages", "".join([*body, pieces.table(*stage_rows(race))])))
    if any(each.audio for each in race.entrants):
        sections.append(Section(f"{named}Listen", _players(race, texts)))
    return sections


def _start(race: Race) -> str:
    drawn = figures.start(race)
    return "".join(
        [
            pieces.image(drawn, f"{race.title}: cold start of every contender") if drawn else "",
            _defined(*race.starting),
            pieces.image(figures.memory(race), f"{race.title}: peak memory and size of every contender"),
            _defined(PEAK, *([DEVICE] if race.on_device else []), "folder"),
            pieces.table(*contender_rows(race)),
            pieces.table(*probe_rows(race)),
            _defined("matmul probe"),
            *map(pieces.paragraph, remarks(race)),
        ]
    )


def _players(race: Race, texts: Mapping[str, str]) -> str:
    """What was said in the last run, a list for each text."""
    parts = []
    for item in race.items:
        heard = [
            (
                each.name,
                f"{spread(each.of(SPEED, item))} x real time; {race.first} after "
                f"{number(median(each.of(FIRST, item)))} s",
                Audio.read(each.audio[item]),
            )
            for each in race.entrants
            if item in each.audio
        ]
        parts += [pieces.paragraph(f"{item}: {texts.get(item, '')}"), pieces.players(heard, rate=None)]
    return "".join(parts)


def _measured_how(machine: Mapping[str, str]) -> Section:
    name = "median (lowest to highest)"
    body = pieces.definitions({**machine, name: DEFINITIONS[name]})
    return Section("Machine and method", body)


def _defined(*names: str) -> str:
    """What figures mean, beside them."""
    return pieces.definitions({name: DEFINITIONS[name] for name in names})
