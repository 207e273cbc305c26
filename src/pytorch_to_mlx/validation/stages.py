"""The stages of a reference: alive, equal tap by tap, and sensitive to every parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from pytorch_to_mlx.errors import ParityError
from pytorch_to_mlx.parity import INFO, Case, Recording, compare_tap, perturbed, recording
from pytorch_to_mlx.port import Reference, Stage
from pytorch_to_mlx.report import CaseResult, Controls, TapResult
from pytorch_to_mlx.weights import Layout

Progress = Callable[[str, int, int], None]
"""Called with what is done, how many of them are, and of how many."""

TOGETHER = "all"
EXACT = "float32"
"""The mode whose bars are so narrow that 1 % of any parameter moves a tap past them."""
COARSE = 100.0
"""Percent of noise in other modes."""


def check_alive(recorded: Recording, reference: Reference) -> None:
    """Refuse a recording that exercises too little.

    Raises:
        ParityError: names the case and the measure.
    """
    for name, stage in reference.stages.items():
        cases = [case for case in recorded.cases if reference.stage(case.name) is stage]
        for measure, least in stage.alive.items():
            measured = {case.name: case.alive[measure] for case in cases if measure in case.alive}
            if cases and not measured:
                of = f" {name}" if name else ""
                raise ParityError(
                    f"the reference {recorded.reference}{of} records no {measure}, by which its cases are judged alive"
                )
            for case, value in measured.items():
                if value < least:
                    raise ParityError(f"case {case} is dead: {measure} is {value:g}, at least {least:g} is needed")


def silent(what: str, done: int, total: int) -> None:
    """No progress is shown."""


def compare(
    model: Any, recorded: Recording, reference: Reference, mode: str, *, progress: Progress = silent
) -> list[CaseResult]:
    """Compute and compare every case of the stages that have bars for `mode`."""
    cases = _judged(recorded, reference, mode)
    results: list[CaseResult] = []
    for result in _compared(model, recorded, cases, reference, mode):
        results.append(result)
        progress("cases", len(results), len(cases))
    return results


def check_controls(
    model: Any,
    recorded: Recording,
    reference: Reference,
    mode: str,
    *,
    only: Callable[[str], bool] = lambda name: True,
    progress: Progress = silent,
) -> Controls:
    """Perturb each parameter in turn; one that moves no tap of its stage past its bar is named.

    Those that `only` rejects, or of a stage that another variant's recordings have, are left alone and counted. So are,
    in other modes than float32, all but the matrices at the beginning, the middle and the end of each stage's network:
    bars are wide there, noise is as large as the values, and one matrix of the three must be noticed.

    Raises:
        ParityError: the recording lacks a stage that it should have.
    """
    parameters = dict(tree_flatten(model.network.parameters()))
    stages = {name: _controlling(reference, name) for name in parameters}
    by_stage = _cheapest_first(_judged(recorded, reference, mode), reference)
    chosen = [name for name in parameters if only(name)]
    if mode != EXACT:
        chosen = _matrices({name: parameters[name] for name in chosen}, stages)
    noticed: dict[str, bool] = {}
    for done, name in enumerate(chosen, start=1):
        progress("controls", done, len(chosen))
        stage = stages[name]
        own = by_stage[stage] if stage is not None else []
        if stage is not None and not own:
            _check_left_out(stage, recorded, reference, mode)
            continue
        with _perturbed(model.network, name, 1 if mode == EXACT else COARSE):
            cases = _compared(model, recorded, own, reference, mode)
            noticed[name] = any(case.first_divergence is not None for case in cases)
    if mode != EXACT:
        alive = {stages[name] for name, moved in noticed.items() if moved}
        noticed = {name: moved for name, moved in noticed.items() if moved or stages[name] not in alive}
    unmoved = tuple(name for name, moved in noticed.items() if not moved)
    return Controls(len(noticed), unmoved, len(parameters) - len(noticed))


def _matrices(parameters: Mapping[str, mx.array], stages: Mapping[str, str | None]) -> list[str]:
    """The first, the middle and the last matrix of each stage's network; of what has none, parameters."""
    by_stage: dict[str | None, list[str]] = {}
    for name in parameters:
        by_stage.setdefault(stages[name], []).append(name)
    chosen: list[str] = []
    for names in by_stage.values():
        # A quantized layer's scales and biases are matrices too.
        matrices = [each for each in names if parameters[each].ndim > 1 and not each.endswith((".scales", ".biases"))]
        own = matrices or names
        chosen += [own[place] for place in sorted({0, len(own) // 2, len(own) - 1})]
    return chosen


def _check_left_out(stage: str, recorded: Recording, reference: Reference, mode: str) -> None:
    """A stage without cases is another variant's, or has no bars for the mode."""
    elsewhere = reference.elsewhere.get(recorded.variant, ())
    if stage not in elsewhere and mode in reference.stages[stage].bars:
        network = reference.stages[stage].network or "the model"
        raise ParityError(f"the reference {recorded.reference} records no case of {network}")


def _cheapest_first(cases: Sequence[Case], reference: Reference) -> dict[str, list[Case]]:
    """Cases by the name of their stage; its control case, which notices nearly everything, before the others."""
    by_stage: dict[str, list[Case]] = {name: [] for name in reference.stages}
    for case in cases:
        by_stage[reference.stage_name(case.name)].append(case)
    for name, own in by_stage.items():
        own.sort(key=lambda case: case.name.rpartition("/")[2] != reference.stages[name].control_case)
    return by_stage


def _controlling(reference: Reference, parameter: str) -> str | None:
    """The stage whose cases a change of the parameter must move: that of the innermost network around it."""
    stages = reference.stages
    own = [name for name, stage in stages.items() if stage.control_case and _within(parameter, stage.network)]
    return max(own, key=lambda name: len(stages[name].network), default=None)


def _within(parameter: str, network: str) -> bool:
    return not network or parameter.startswith(f"{network}.")


def _judged(recorded: Recording, reference: Reference, mode: str) -> list[Case]:
    return [case for case in recorded.cases if case.taps and mode in reference.stage(case.name).bars]


def _compared(
    model: Any, recorded: Recording, cases: Sequence[Case], reference: Reference, mode: str
) -> Iterator[CaseResult]:
    for case in cases:
        stage = reference.stage(case.name)
        taps = _compare_case(_compute(model, recorded, case, stage), case, stage, mode)
        yield CaseResult(case.name, tuple(taps), case.alive)


def _compute(model: Any, recorded: Recording, case: Case, stage: Stage) -> dict[str, np.ndarray]:
    """Our taps of one case, under our names."""
    wanted = {stage.our_name(name) for name in case.taps}
    network = _network(model.network, stage.network)
    subject = network if stage.network else model
    with recording(network, wanted.__contains__) as tape:
        if case.name == TOGETHER and stage.together is not None:
            stage.together(subject, [other.inputs for other in recorded.cases if other.name != TOGETHER])
        else:
            stage.run(subject, case.inputs, case.noise)
    return tape.taps


def _network(network: nn.Module, path: str) -> nn.Module:
    for name in path.split(".") if path else ():
        network = getattr(network, name)
    return network


@contextmanager
def _perturbed(network: nn.Module, name: str, percent: float) -> Iterator[None]:
    """Within the block, the parameter `name` is off by noise of `percent` of each value."""
    original = dict(tree_flatten(network.parameters()))[name]
    network.load_weights([(name, perturbed(original, len(name), percent))], strict=False)
    try:
        yield
    finally:
        network.load_weights([(name, original)], strict=False)


def _compare_case(ours: Mapping[str, np.ndarray], case: Case, stage: Stage, mode: str) -> Iterator[TapResult]:
    pairs: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    compared: dict[str, str] = {}
    for name, theirs in case.taps.items():
        key = stage.our_name(name)
        if key not in ours:
            raise ParityError(f"case {case.name}: our side records no tap {key} (upstream's {name})")
        mine = ours[key]
        layout = stage.layout(name)
        theirs = Layout(layout).apply(theirs) if layout else theirs
        if stage.leads(name) and len(theirs) < len(mine):
            compared[name] = f"first {len(theirs)} of {len(mine)}"
            mine = mine[: len(theirs)]
        pairs[name] = (mine, theirs)
    for name, (mine, theirs) in pairs.items():
        bar = stage.bar(mode, name) or INFO
        scope = name.rpartition("/")[0]
        near = {k.removeprefix(f"{scope}/") if scope else k: v for k, v in pairs.items()}
        yield compare_tap(
            name, mine, theirs, bar, floor=case.floor.get(name), compared=compared.get(name, ""), others=near
        )
