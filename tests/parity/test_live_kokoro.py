"""Kokoro at full size against kokoro 0.9.4: converted from upstream's files, compared stage by stage."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from live import assert_diverges_first, exported
from safetensors.numpy import load_file

from pytorch_to_mlx import convert, load, registry, validate
from pytorch_to_mlx.folder import read_config
from pytorch_to_mlx.report import CaseResult, ParityReport
from pytorch_to_mlx.validation import recorded_upstream

pytestmark = pytest.mark.parity

REFERENCE = registry.get("kokoro").reference
TENSORS = 548
"""Of the published file, which has no affine parts of instance norms."""
ALIKE = re.compile(r"resblocks\.[1245]\.|decode\.[12]\.|predictor\.N\.|text_encoder\.(lstms\.[2-5]|cnn\.[12])\.")
"""Parameters of blocks like their neighbours, whose controls are left to `validate`: they take minutes."""
PARAMETERS, LEFT = 245, 176
"""What the tensors become, weight norm folded and what has no effect left out."""


@dataclass(frozen=True)
class Proven:
    """A converted model with its source and report."""

    source: Path
    folder: Path
    report: ParityReport

    def case(self, name: str) -> CaseResult:
        """One of the report's cases."""
        return next(case for case in self.report.cases if case.name == name)


@pytest.fixture(scope="module")
def proven(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proven]:
    room = tmp_path_factory.mktemp("kokoro")
    source, folder = exported(REFERENCE, "v1.0", room / "source"), room / "model"
    assert len({row.source for row in convert(source, folder).accounting}) == TENSORS
    report = validate(folder, source=str(source), controls=lambda name: not ALIKE.search(name), note=print)
    yield Proven(source, folder, report)
    shutil.rmtree(room)


def test_every_tap_holds_and_every_parameter_matters(proven: Proven, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print("\n" + proven.report.summary())
    assert proven.report.passed, proven.report.markdown()
    controls = proven.report.controls
    assert controls is not None
    assert (controls.perturbed, controls.left_alone, controls.unmoved) == (PARAMETERS, LEFT, ())


def test_durations_samples_and_loudness_are_upstreams(proven: Proven) -> None:
    for name in ("text/short", "text/control", "text/fast", "text/long", "tts/short", "tts/whole"):
        taps = {tap.name: tap for tap in proven.case(name).taps}
        assert (taps["durations"].kind, taps["durations"].error, taps["durations"].ties) == ("exact", 0, ())
        if name.startswith("tts"):
            assert taps["wav"].compared == "" and taps["loudness"].max_abs < 0.05  # of one shape; decibels
    assert proven.case("text/long").taps[0].shape[1] == 512


def test_the_source_is_alive_and_sound_is_upstreams(proven: Proven) -> None:
    assert proven.case("text/long").alive["voiced"] >= 0.5
    for name in ("decoder/short", "decoder/control"):
        (wav,) = (tap for tap in proven.case(name).taps if tap.name == "wav")
        assert wav.kind == "decibels" and wav.error <= -75


def test_converting_again_changes_no_value(proven: Proven, tmp_path: Path) -> None:
    convert(proven.source, tmp_path / "again")
    for file in ("model.safetensors", "voices.safetensors"):
        first, second = load_file(proven.folder / file), load_file(tmp_path / "again" / file)
        assert first.keys() == second.keys()
        assert all(np.array_equal(first[name], second[name]) for name in first)


def test_a_changed_weight_is_named_as_first_divergence(proven: Proven) -> None:
    recorded = recorded_upstream(read_config(proven.folder), source=str(proven.source))
    assert_diverges_first(
        load(proven.folder),
        recorded,
        REFERENCE,
        parameter="decoder.decode.1.conv1.weight",
        case="decoder/control",
        tap="decode.1",
    )
