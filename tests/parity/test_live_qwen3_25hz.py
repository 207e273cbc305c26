"""The 25 Hz tokenizer of Qwen3-TTS against qwen-tts: reduced in CI, at full size by `make parity-full`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from live import assert_diverges_first, exported

from pytorch_to_mlx import convert, load, registry, validate
from pytorch_to_mlx.folder import read_config
from pytorch_to_mlx.report import ParityReport
from pytorch_to_mlx.validation import recorded_upstream

PORT = registry.get("qwen3_tts_tokenizer_25hz")
AUDIO = Path(__file__).parents[3] / "shared" / "audio"
SPEECH = sorted(AUDIO.glob("*.wav"))[:2]
SECONDS = 5
TENSORS = {"reduced": 720, "full": 1333}
PARAMETERS = 693
"""Of the reduced model, each of which is perturbed."""


@dataclass(frozen=True)
class Proven:
    """A converted tokenizer with its source and report."""

    size: str
    source: Path
    folder: Path
    report: ParityReport


MARKS = {"reduced": pytest.mark.parity, "full": pytest.mark.full}


@pytest.fixture(scope="module", params=[pytest.param(size, marks=mark, id=size) for size, mark in MARKS.items()])
def proven(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proven]:
    size, room = request.param, tmp_path_factory.mktemp("tokenizer")
    variant = "25hz" if size == "full" else f"25hz-{size}"
    source, folder = exported(PORT.reference, variant, room / "source"), room / "model"
    assert len({row.source for row in convert(source, folder).accounting}) == TENSORS[size]
    controls = size == "reduced"
    report = validate(folder, source=str(source), audio=SPEECH, seconds=SECONDS, controls=controls, note=print)
    yield Proven(size, source, folder, report)
    shutil.rmtree(room)


def test_every_tap_holds_and_every_parameter_matters(proven: Proven, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print("\n" + proven.report.summary())
    assert proven.report.passed, proven.report.markdown()
    if proven.size == "reduced":
        controls = proven.report.controls
        assert controls is not None and (controls.perturbed, controls.unmoved) == (PARAMETERS, ())


def test_codes_are_upstreams(proven: Proven) -> None:
    codes = {case.name: tap for case in proven.report.cases for tap in case.taps if tap.name == "codes"}
    own = {f"encode/{name}" for name in ("short", "control", "windows")}
    assert codes.keys() == own | {path.stem for path in SPEECH}
    assert all((tap.kind, tap.error, tap.ties) == ("exact", 0, ()) for tap in codes.values())
    (windows,) = (case for case in proven.report.cases if case.name == "encode/windows")
    assert codes["encode/windows"].shape == (203,)
    assert 200 * windows.alive["distinct"] >= 50


def test_sound_is_upstreams(proven: Proven) -> None:
    sound = {case.name: tap for case in proven.report.cases for tap in case.taps if tap.name == "wav"}
    assert sound.keys() == {"bigvgan/short", "bigvgan/control", "decode/short", *(path.stem for path in SPEECH)}
    assert all(tap.kind == "decibels" and tap.error <= -75 for tap in sound.values())


def test_a_changed_weight_is_named_as_first_divergence(proven: Proven) -> None:
    recorded = recorded_upstream(read_config(proven.folder), source=str(proven.source), audio=SPEECH, seconds=SECONDS)
    assert_diverges_first(
        load(proven.folder),
        recorded,
        PORT.reference,
        parameter="decoder.dit.transformer_blocks.1.ff.ff.0.weight",
        case="dit/control",
        tap="transformer_blocks.1",
    )
