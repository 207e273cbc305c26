"""The 12 Hz codec of Qwen3-TTS at full size, against qwen-tts: codes of every shared recording, and their sound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from live import assert_diverges_first, exported

from pytorch_to_mlx import convert, load, registry, validate
from pytorch_to_mlx.folder import read_config
from pytorch_to_mlx.report import ParityReport
from pytorch_to_mlx.validation import recorded_upstream

pytestmark = pytest.mark.parity

REFERENCE = registry.get("qwen3_tts_tokenizer").reference
AUDIO = Path(__file__).parents[3] / "shared" / "audio"
SPEECH = sorted([*AUDIO.glob("*.wav"), *AUDIO.glob("*.flac")])
SECONDS = 6
TENSORS, PARAMETERS = 496, 356
OWN_CASES = {f"{stage}/{name}" for stage in ("encode", "decode") for name in ("short", "control", "long")}


@dataclass(frozen=True)
class Proven:
    """A converted codec with its source and report."""

    source: Path
    folder: Path
    report: ParityReport


@pytest.fixture(scope="module")
def proven(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proven]:
    room = tmp_path_factory.mktemp("codec")
    source, folder = exported(REFERENCE, "12hz", room / "source"), room / "model"
    assert len({row.source for row in convert(source, folder).accounting}) == TENSORS
    report = validate(folder, source=str(source), audio=SPEECH, seconds=SECONDS, note=print)
    yield Proven(source, folder, report)
    (source / "model.safetensors").unlink()
    (folder / "model.safetensors").unlink()


def test_every_tap_holds_and_every_parameter_matters(proven: Proven, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print("\n" + proven.report.summary())
    assert proven.report.passed, proven.report.markdown()
    controls = proven.report.controls
    assert controls is not None and (controls.perturbed, controls.unmoved) == (PARAMETERS, ())


def test_codes_of_every_recording_are_upstreams(proven: Proven) -> None:
    codes = {case.name: tap for case in proven.report.cases for tap in case.taps if tap.name == "codes"}
    encoded = {name for name in OWN_CASES if name.startswith("encode")}
    assert codes.keys() == encoded | {path.stem for path in SPEECH}
    assert all((tap.kind, tap.error, tap.ties) == ("exact", 0, ()) for tap in codes.values())
    assert codes["encode/long"].shape == (1, 163, 16)


def test_sound_is_upstreams_whole_and_in_pieces(proven: Proven) -> None:
    sound = {
        (case.name, tap.name): tap
        for case in proven.report.cases
        for tap in case.taps
        if tap.name in ("wav", "streamed")
    }
    whole = {(name, "wav") for name in ("decode/short", "decode/control", "decode/long", *(p.stem for p in SPEECH))}
    assert sound.keys() == whole | {("decode/short", "streamed"), ("decode/long", "streamed")}
    assert all(tap.kind == "decibels" and tap.error <= -75 for tap in sound.values())


def test_a_changed_weight_is_named_as_first_divergence(proven: Proven) -> None:
    recorded = recorded_upstream(read_config(proven.folder), source=str(proven.source), audio=SPEECH, seconds=SECONDS)
    assert_diverges_first(
        load(proven.folder),
        recorded,
        REFERENCE,
        parameter="decoder.decoder.2.block.3.conv1.weight",
        case="decode/control",
        tap="decoder.2",
    )
