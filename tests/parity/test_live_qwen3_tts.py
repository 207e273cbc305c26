"""Qwen3-TTS of every published kind against qwen-tts: reduced in CI, at full size by `make parity-full`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from live import assert_diverges_first, exported

from pytorch_to_mlx import convert, load, registry, validate
from pytorch_to_mlx.folder import read_config
from pytorch_to_mlx.report import ParityReport
from pytorch_to_mlx.validation import compare, recorded_upstream

PORT = registry.get("qwen3_tts")
AUDIO = Path(__file__).parents[3] / "shared" / "audio"
SPEECH = sorted(AUDIO.glob("*.wav"))[:2]
SECONDS = 4
CODEC_TENSORS = 496
TENSORS = {
    "0.6b-base": 478,
    "1.7b-base": 480,
    "0.6b-custom-voice": 402,
    "1.7b-custom-voice": 404,
    "1.7b-voice-design": 404,
}
"""Of the published sizes, the codec's not counted."""
FORCED = ["talker/forward", "talker/control"]
QUANTIZED = ("0.6b-base", "1.7b-base")
"""Cases whose logits follow from upstream's codes, not from our own."""
PARAMETERS = {"0.6b-base": 411, "1.7b-custom-voice": 89}
"""Whose reduced parameters are each perturbed, but for the codec's of the second: every kind of them."""


@dataclass(frozen=True)
class Proven:
    """A converted model with its source and report."""

    variant: str
    full: bool
    source: Path
    folder: Path
    report: ParityReport


def _sizes() -> list[object]:
    marks = {"reduced": pytest.mark.parity, "full": pytest.mark.full}
    return [pytest.param((name, size), marks=marks[size], id=f"{name}-{size}") for size in marks for name in TENSORS]


def _recordings(variant: str) -> dict[str, Any]:
    """What models that hear are compared on besides."""
    return {"audio": SPEECH if variant.endswith("-base") else (), "seconds": SECONDS}


@pytest.fixture(scope="module", params=_sizes())
def proven(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proven]:
    variant, size = request.param
    full, room = size == "full", tmp_path_factory.mktemp("qwen3_tts")
    source = exported(PORT.reference, variant if full else f"{variant}-reduced", room / "source")
    converted = convert(source, room / "model", dtype="float32")
    assert converted.config.variant == variant
    if full:
        assert len({row.source for row in converted.accounting}) == TENSORS[variant] + CODEC_TENSORS
    report = validate(
        room / "model",
        source=str(source),
        **_recordings(variant),
        controls=variant in PARAMETERS and not full,
        note=print,
    )
    yield Proven(variant, full, source, room / "model", report)
    shutil.rmtree(room)


def test_every_tap_holds(proven: Proven, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print("\n" + proven.report.summary())
    assert proven.report.passed, proven.report.markdown()
    if proven.variant in PARAMETERS and not proven.full:
        controls = proven.report.controls
        assert controls is not None
        assert (controls.perturbed, controls.unmoved) == (PARAMETERS[proven.variant], ())


@pytest.mark.parametrize("how", ["greedy", "sampled"])
def test_a_hundred_frames_are_upstreams(proven: Proven, how: str) -> None:
    """Fifty codes of each codebook at least, and no ties."""
    (case,) = (case for case in proven.report.cases if case.name == f"talker/{how}")
    codes = {tap.name: tap for tap in case.taps if tap.name in ("first", "others")}
    assert {name: tap.shape for name, tap in codes.items()} == {"first": (100,), "others": (1500,)}
    assert all((tap.kind, tap.error, tap.ties) == ("exact", 0, ()) for tap in codes.values())
    assert case.alive["distinct_share"] >= 0.5


@pytest.mark.parametrize(("bits", "limit"), [(8, 0.02), (4, 0.2)])
def test_quantized_logits(proven: Proven, tmp_path: Path, bits: int, limit: float) -> None:
    if proven.variant not in QUANTIZED:
        pytest.skip(f"the networks are those of {' and '.join(QUANTIZED)}")
    folder = tmp_path / "quantized"
    convert(proven.source, folder, dtype="float32", quantize=True, q_bits=bits)
    recorded = recorded_upstream(read_config(folder), source=str(proven.source), **_recordings(proven.variant))
    forced = replace(recorded, cases=tuple(each for each in recorded.cases if each.name in FORCED))
    cases = compare(load(folder), forced, PORT.reference, f"{bits}-bit")
    logits = [tap for case in cases for tap in case.taps if tap.kind == "relative"]
    assert [case.name for case in cases if case.first_divergence is None] == FORCED
    assert len(logits) == 2 * 16 and max(tap.error for tap in logits) <= limit


def test_a_changed_weight_is_named_as_first_divergence(proven: Proven) -> None:
    recorded = recorded_upstream(read_config(proven.folder), source=str(proven.source), **_recordings(proven.variant))
    assert_diverges_first(
        load(proven.folder),
        recorded,
        PORT.reference,
        parameter="talker.code_predictor.model.layers.1.mlp.down_proj.weight",
        case="talker/control",
        tap="code_predictor.model.layers.1.mlp",
    )
