"""A race as tables of text, for the terminal and the page alike."""

from __future__ import annotations

from pytorch_to_mlx.benchmark.results import (
    AUDIO,
    DEVICE,
    FIRST,
    LATENCY,
    PEAK,
    SPEED,
    TOKEN,
    Measured,
    Race,
    number,
    spread,
)

SHARED = 2.0
Table = tuple[list[str], list[list[str]]]
"""The head, and the rows; what was not measured is empty."""


def item_rows(race: Race) -> Table:
    """Every contender at every item."""
    columns = {
        "latency, s": LATENCY,
        SPEED: SPEED,
        f"{race.first}, s": FIRST,
        **({"audio, s": AUDIO} if race.speaks else {}),
    }
    head = ["contender", "text" if race.speaks else "recording", *columns]
    versus = len(race.entrants) > 1 and not race.side_by_side
    rows = [
        [
            each.name,
            item,
            *(spread(each.of(measure, item)) for measure in columns.values()),
            *([spread(race.ratios(each, item))] if versus else []),
        ]
        for item in race.items
        for each in race.entrants
    ]
    return [*head, *([f"times as fast: {race.entrants[0].name}"] if versus else [])], rows


def contender_rows(race: Race) -> Table:
    """What every contender costs to start, and holds."""
    head = ["contender", *(f"{measure}, s" for measure in race.starting), "peak memory, GB"]
    rows = [
        [
            each.name,
            *(spread(each.of(measure)) for measure in race.starting),
            spread(each.of(PEAK)),
            *([_device_memory(each)] if race.on_device else []),
            number(each.size / 1e9),
        ]
        for each in race.entrants
    ]
    return [*head, *([f"{DEVICE}, GB"] if race.on_device else []), "folder, GB"], rows


def _device_memory(entrant: Measured) -> str:
    held = entrant.facts["device_peak"]
    return "" if entrant.facts["device"] == "cpu" or held is None else number(held / 1e9)


def probe_rows(race: Race) -> Table:
    """What every contender is, and what machine it had."""
    head = ["contender", "matmul probe, GFLOP/s", "preload", "what"]
    rows = [
        [each.name, spread(each.facts["gflops"]), each.facts["preload"] or "none", each.facts["about"]]
        for each in race.entrants
    ]
    return head, rows


def remarks(race: Race) -> list[str]:
    """Sentences on what was not the same for all: the machine, devices, and what is known of the contenders."""
    return [*filter(None, [disturbance(race), devices(race)]), *race.remarks]


def devices(race: Race) -> str:
    """A sentence on devices that differ; else empty."""
    found = {each.name: each.facts["device"] for each in race.entrants}
    if len(set(found.values())) < 2:
        return ""
    return f"Not on the same device: {', '.join(f'{name} computed on the {device}' for name, device in found.items())}."


def disturbance(race: Race) -> str:
    """A sentence on probes that differ by more than twice, which other work on the machine explains; else empty."""
    probes = [rate for each in race.entrants for rate in each.facts["gflops"]]
    if not probes or max(probes) < SHARED * min(probes):
        return ""
    between = f"{number(min(probes))} and {number(max(probes))} GFLOP/s"
    return f"The matmul probe gave between {between}: other work shared the machine, or BLAS differ."


def stage_rows(race: Race) -> Table:
    """Seconds of every stage by contender, of the last item, and of each token."""
    item = race.items[-1]
    stages = list(dict.fromkeys(stage for each in race.entrants for stage in each.stages))
    stages = [*(stage for stage in stages if stage != "rest"), *(["rest"] if "rest" in stages else [])]
    rows = [[stage, *(spread(each.stages.get(stage, {}).get(item, [])) for each in race.entrants)] for stage in stages]
    tokens = [spread(each.of(TOKEN, item)) for each in race.entrants]
    return [f"stage of {item}, s", *(each.name for each in race.entrants)], [
        *rows,
        *([[TOKEN, *tokens]] if any(tokens) else []),
    ]
