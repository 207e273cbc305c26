"""The judge itself: what it lets pass, what it must not, and that it says so instead of stopping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from pytorch_to_mlx.errors import AudioError, ParityError, UsageError
from pytorch_to_mlx.parity import Bar, Case, Recording, compare_tap, perturbed, recording, relative_error, tap
from pytorch_to_mlx.port import Reference, Stage
from pytorch_to_mlx.report import (
    CaseResult,
    Controls,
    ParityReport,
    TapResult,
    error_text,
    limit_text,
    worst_taps,
)
from pytorch_to_mlx.validation import _check_arguments, check_alive, check_controls, compare

CENTS = Bar("cents", 0.1, where="periodicity", above=0.21, same="bins")
EXACT = Bar("exact", candidates="probabilities")


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


# One tap


@pytest.mark.parametrize(
    ("ours", "reference", "error"),
    [
        (floats(1, 2), floats(1, 2), 0),
        (floats(1, 2.5), floats(1, 2), 0.25),
        (floats(0, 0), floats(0, 0), 0),
        (floats(0, 1e-9), floats(0, 0), np.inf),
        (floats(1, np.nan), floats(1, 2), np.inf),
        (floats(1, 2), floats(1, np.nan), np.inf),
        (floats(1, np.nan), floats(1, np.nan), 0),
        (floats(1, np.inf), floats(1, np.inf), 0),
        (floats(1, np.inf), floats(1, -np.inf), np.inf),
        (floats(1, np.nan), floats(1, -np.inf), np.inf),
    ],
)
def test_relative_error(ours: np.ndarray, reference: np.ndarray, error: float) -> None:
    assert relative_error(ours, reference) == error


def test_a_bar_is_held_at_its_limit_and_no_further() -> None:
    bar = Bar("relative", 0.25)
    assert compare_tap("t", floats(1, 2.5), floats(1, 2), bar).passed
    assert not compare_tap("t", floats(1, 2.5001), floats(1, 2), bar).passed
    assert compare_tap("t", floats(9, 9), floats(1, 2), Bar("info")).passed


def test_a_mean_that_cancels_is_judged_by_what_it_is_of() -> None:
    bar, branches = Bar("relative", 1e-5, floors=2, of="branches"), floats(2, -2)
    others = {"branches": (branches, branches)}

    def compared(error: float, floor: float = 0.0) -> TapResult:
        ours = np.array([1e-4 + error])
        return compare_tap("confidence", ours, np.array([1e-4]), bar, floor=floor, others=others)

    assert compared(1.9e-5).passed and not compared(2.1e-5).passed
    assert compared(3.9e-5, floor=0.2).passed and not compared(4.1e-5, floor=0.2).passed
    assert compare_tap("confidence", floats(4), floats(4.1), bar, others=others).error == pytest.approx(0.1 / 4.1)
    with pytest.raises(ParityError, match="confidence: its bar refers to branches, which was not recorded"):
        compare_tap("confidence", branches, branches, bar)


def test_a_bar_may_allow_upstream_own_error_several_times() -> None:
    bar = Bar("relative", 0.1, floors=2)
    held = compare_tap("t", floats(1, 2.5), floats(1, 2), bar, floor=0.125)
    assert held.passed and held.limit == 0.25
    assert not compare_tap("t", floats(1, 2.5), floats(1, 2), bar, floor=0.12).passed
    assert not compare_tap("t", floats(1, 2.5), floats(1, 2), bar).passed
    assert not compare_tap("t", floats(1, 2.5), floats(1, 2), Bar("relative", 0.1), floor=0.125).passed
    assert compare_tap("t", floats(1, 2.1), floats(1, 2), bar, floor=0.0).passed


@pytest.mark.parametrize(
    ("ours", "passed", "text"),
    [
        (floats(3, 4.05), True, "40.0 dB"),
        (floats(3, 4.06), False, "38.4 dB"),
        (floats(3, 4), True, "equal"),
        (floats(3, np.nan), False, "-inf dB"),
        (floats(3, np.inf), False, "-inf dB"),
    ],
)
def test_decibels_count_the_energy_of_the_error(ours: np.ndarray, passed: bool, text: str) -> None:
    result = compare_tap("t", ours, floats(3, 4), Bar("decibels", 39.9), floor=1.0)
    assert result.passed == passed and error_text(result) == text
    assert limit_text(result) == "39.9 dB"


def test_silence_has_no_ratio_unless_it_is_met() -> None:
    assert compare_tap("t", floats(0), floats(0), Bar("decibels", 75)).passed
    assert not compare_tap("t", floats(1e-9), floats(0), Bar("decibels", 75)).passed


def test_another_shape_is_a_divergence_and_no_abort() -> None:
    result = compare_tap("t", floats(1, 2, 3), floats(1, 2), Bar("relative", 1.0))
    assert not result.passed and result.error == np.inf and "(3,)" in result.compared


def pitched(ours: np.ndarray, bins: list[int] | None = None) -> TapResult:
    reference = floats(100, 200, 300)
    ranked = np.array([1, 2, 3]), np.array(bins or [1, 2, 3])
    others = {"periodicity": (floats(0.9, 0.9, 0.1),) * 2, "bins": ranked}
    return compare_tap("pitch", ours, reference, CENTS, others=others)


def test_pitch_is_judged_in_voiced_frames() -> None:
    assert pitched(floats(100, 200, 1000)).passed
    assert not pitched(floats(100, 200.02, 300)).passed
    assert not pitched(floats(np.nan, 200, 300)).passed


def test_frames_of_other_bins_are_left_to_the_bins_and_counted() -> None:
    result = pitched(floats(100, 400, 300), [1, 7, 3])
    assert result.passed and "1 frames" in result.compared


def test_no_common_bin_is_a_divergence_and_no_abort() -> None:
    assert not pitched(floats(100, 200, 300), [7, 7, 7]).passed


def test_a_recording_without_a_voiced_frame_is_dead() -> None:
    with pytest.raises(ParityError, match="dead"):
        compare_tap("pitch", floats(1), floats(1), CENTS, others={"periodicity": (floats(0), floats(0))})


def ranked(gap: float, error: float) -> TapResult:
    theirs = np.array([[0.5, 0.5 - gap], [0.9, 0.1]], np.float64)
    others = {"probabilities": (theirs + error, theirs)}
    return compare_tap("bins", np.array([1, 0]), np.array([0, 0]), EXACT, others=others)


def test_a_mismatch_is_a_tie_only_within_ten_times_the_measured_error() -> None:
    assert ranked(gap=9e-6, error=1e-6).passed and ranked(gap=9e-6, error=1e-6).ties == (0,)
    assert not ranked(gap=11e-6, error=1e-6).passed
    assert not ranked(gap=0.1, error=0).passed


def test_without_candidates_no_mismatch_is_excused() -> None:
    assert not compare_tap("bins", np.array([1]), np.array([0]), EXACT).passed


# A model


class Net(nn.Module):
    """Two layers, the second of which contributes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)

    def __call__(self, x: mx.array) -> mx.array:
        return self.first(x) + 0 * self.second(x)


class Model:
    def __init__(self) -> None:
        self.network = Net()


def run(model: Model, inputs: Mapping[str, np.ndarray], noise: Mapping[str, np.ndarray]) -> None:
    tap("out", model.network(mx.array(inputs["x"])))


STAGE = Stage(run, {"float32": {"*": Bar("relative", 1e-5)}}, alive={"distance": 0.5})
REFERENCE = Reference("none.py", "none", {"": STAGE})


def recorded(model: Model, **changes: Any) -> Recording:
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    with recording(model.network) as tape:
        run(model, {"x": x}, {})
    taps = {name: tape.taps[name] for name in ("first", "out")}
    case = Case("short", {"x": x}, {}, taps, {}, {"distance": 1.0})
    return Recording("none", "only", (case,), {}, "", **changes)


def test_the_first_divergence_is_where_the_change_is() -> None:
    model = Model()
    truth = recorded(model)
    assert compare(model, truth, REFERENCE, "float32")[0].first_divergence is None
    model.network.first.weight = model.network.first.weight + 0.01
    assert compare(model, truth, REFERENCE, "float32")[0].first_divergence == "first"


def test_a_parameter_that_nothing_notices_is_named() -> None:
    model = Model()
    told: list[tuple[str, int, int]] = []
    controls = check_controls(
        model, recorded(model), REFERENCE, "float32", progress=lambda *counted: told.append(counted)
    )
    assert told == [("controls", done, 4) for done in (1, 2, 3, 4)]
    assert controls.perturbed == 4
    assert set(controls.unmoved) == {"second.weight", "second.bias"}


def test_wide_bars_are_checked_by_matrices_that_are_drawn_anew() -> None:
    """Of float16, 1 % of noise would be lost in bars of 5 %."""
    model = Model()
    bars = {"float16": {"out": Bar("relative", 0.05)}}
    controls = check_controls(model, recorded(model), Reference("none.py", "none", {"": Stage(run, bars)}), "float16")
    assert (controls.perturbed, controls.unmoved, controls.left_alone) == (1, (), 3)
    stages = {"": Stage(run, bars), "dead": Stage(run_dead, bars, network="second")}
    truth = recorded(model)
    dead = replace(truth.cases[0], name="dead/short", taps={"out": np.zeros((3, 4), np.float32)})
    both = replace(truth, cases=(*truth.cases, dead))
    controls = check_controls(model, both, Reference("none.py", "none", stages), "float16")
    assert controls.perturbed == 2 and controls.unmoved == ("second.weight",)


def run_dead(network: nn.Module, inputs: Mapping[str, np.ndarray], noise: Mapping[str, np.ndarray]) -> None:
    tap("out", 0 * network(mx.array(inputs["x"])))


def test_packed_numbers_are_changed_a_little_or_drawn_anew() -> None:
    packed = mx.arange(64, dtype=mx.uint32).reshape(8, 8)
    assert np.array_equal(np.array(perturbed(packed, 0)), np.array(packed) ^ 1)
    assert np.count_nonzero(np.array(perturbed(packed, 0, 100)) >> 16) > 60


def test_parameters_of_a_stage_that_is_not_recorded_are_counted_apart() -> None:
    model = Model()
    truth = recorded(model)
    alone = Stage(run, STAGE.bars, network="second")
    stages = {"": STAGE, "alone": alone}
    with pytest.raises(ParityError, match="records no case of second"):
        check_controls(model, truth, Reference("none.py", "none", stages), "float32")
    controls = check_controls(model, truth, Reference("none.py", "none", stages, {"only": ("alone",)}), "float32")
    assert (controls.perturbed, controls.left_alone, controls.unmoved) == (2, 2, ())
    assert "2 parameters were not perturbed" in report(controls=controls).summary()


def test_a_dead_case_is_refused_and_so_is_a_measure_that_nobody_took() -> None:
    model = Model()
    truth = recorded(model)
    check_alive(truth, REFERENCE)
    for alive, message in (
        ({"distance": 2.0}, "case short is dead: distance is 1"),
        ({"distanse": 0.1}, "no distanse"),
    ):
        changed = Reference("none.py", "none", {"": replace(STAGE, alive=alive)})
        with pytest.raises(ParityError, match=message):
            check_alive(truth, changed)


def test_modules_are_themselves_again_after_recording() -> None:
    model = Model()
    with recording(model.network):
        assert type(model.network.first) is not nn.Linear
    assert type(model.network.first) is nn.Linear


# The report


def result(name: str, error: float, kind: str = "relative") -> TapResult:
    return TapResult(name, kind, (1,), error, 1e-5, kind == "info" or error <= 1e-5, error, 1.0)


def report(*cases: CaseResult, controls: Controls | None = None) -> ParityReport:
    return ParityReport("m", "v", "float16", "up", {}, "", {}, cases, controls)


def test_the_summary_counts_what_was_judged() -> None:
    summary = report(CaseResult("a", (result("x", 0.5, "info"), result("y", 1e-6)))).summary()
    assert "1 taps of 1 cases hold" in summary and "1 more have no bar" in summary


def test_taps_are_listed_in_order_of_execution_whatever_cases_have_them() -> None:
    first = CaseResult("a", (result("b", 1e-7), result("d", 1e-7)))
    second = CaseResult("c", (result("a", 1e-7), result("b", 2e-7), result("c", 0), result("d", 0)))
    listed = worst_taps(report(first, second))
    assert [tap.name for _, tap in listed] == ["a", "b", "c", "d"]
    assert {tap.name: case for case, tap in listed}["b"] == "c"


def test_taps_of_stages_are_told_apart_and_the_card_has_those_nearest_to_their_limits() -> None:
    flow = CaseResult("flow/short", (result("in", 1e-7), result("mel", 5e-6), result("same", 0, "exact")))
    other = CaseResult("hift/short", (result("in", 2e-6), result("wav", 1, "info")))
    late = CaseResult("flow/long", (result("early", 1e-7), result("in", 3e-7)))
    full = report(flow, other, late)
    names = ["flow/early", "flow/in", "flow/mel", "flow/same", "hift/in", "hift/wav"]
    assert [tap.name for _, tap in worst_taps(full)] == names
    rows = [line.split(" | ")[0] for line in full.markdown().splitlines() if line.startswith("| ")]
    assert rows == ["| tap", "| ---", "| flow/mel", "| flow/same", "| hift/in"]


def test_infinite_errors_survive_the_file() -> None:
    taps = (result("x", -np.inf, "decibels"), result("y", np.inf))
    read = ParityReport.from_json(report(CaseResult("a", taps)).to_json())
    assert [tap.error for tap in read.cases[0].taps] == [-np.inf, np.inf]


def test_an_unmoved_control_fails_the_report() -> None:
    assert report(CaseResult("a", ()), controls=Controls(3, ())).passed
    assert not report(CaseResult("a", ()), controls=Controls(3, ("w",))).passed


# Arguments


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_lengths_that_are_none_are_refused(tmp_path: Any, seconds: float) -> None:
    with pytest.raises(UsageError, match="--seconds"):
        _check_arguments(tmp_path, (), seconds)


def test_a_missing_recording_is_refused_before_the_work(tmp_path: Any) -> None:
    with pytest.raises(AudioError, match="no such file"):
        _check_arguments(tmp_path, [tmp_path / "absent.wav"], None)
