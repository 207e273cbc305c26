"""The S3 speech tokenizers at full size: converted from ONNX models as they were published, which upstream reads too.

Tokens of every shared recording, where this checkout lies beside them. The reference's own cases are a batch of several
lengths and 33 s in two windows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import pytest
from live import assert_diverges_first, exported

from pytorch_to_mlx import convert, load, registry, validate
from pytorch_to_mlx.folder import read_config
from pytorch_to_mlx.report import ParityReport
from pytorch_to_mlx.validation import recorded_upstream

pytestmark = pytest.mark.parity

REFERENCE = registry.get("s3_tokenizer").reference
AUDIO = Path(__file__).parents[3] / "shared" / "audio"
SPEECH = sorted([*AUDIO.glob("*.wav"), *AUDIO.glob("*.flac")])
OWN_CASES = {"short", "control", "batch", "long"}


@dataclass(frozen=True)
class Target:
    """A variant.

    Attributes:
        file: the name under which it was published.
        parameters: how many it has.
    """

    variant: str
    file: str
    parameters: int


TARGETS = [
    Target("v1-50hz", "speech_tokenizer_v1.onnx", 96),
    Target("v1-25hz", "speech_tokenizer_v1.onnx", 96),
    Target("v2-25hz", "speech_tokenizer_v2.onnx", 102),
]


@dataclass(frozen=True)
class Proven:
    """A converted model with its source and report."""

    target: Target
    source: Path
    folder: Path
    report: ParityReport


@pytest.fixture(scope="module", params=TARGETS, ids=lambda target: target.variant)
def proven(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proven]:
    target: Target = request.param
    room = tmp_path_factory.mktemp(target.variant)
    source, folder = exported(REFERENCE, target.variant, room / target.file), room / "model"
    convert(source, folder, variant=target.variant)
    report = validate(folder, source=str(source), audio=SPEECH, note=print)
    yield Proven(target, source, folder, report)
    source.unlink()  # half a gigabyte each
    (folder / "model.safetensors").unlink()


def test_every_tap_holds_and_every_parameter_matters(proven: Proven, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print("\n" + proven.report.summary())
    assert proven.report.passed, proven.report.markdown()
    controls = proven.report.controls
    assert controls is not None and (controls.perturbed, controls.unmoved) == (proven.target.parameters, ())


def test_tokens_of_every_recording_are_upstreams(proven: Proven) -> None:
    tokens = {case.name: tap for case in proven.report.cases for tap in case.taps if tap.name == "tokens"}
    assert tokens.keys() == OWN_CASES | {path.stem for path in SPEECH}
    assert all((tap.kind, tap.error, tap.ties) == ("exact", 0, ()) for tap in tokens.values())
    assert tokens["long"].shape == (33 * int(proven.target.variant[-4:-2]),)


def test_a_changed_weight_is_named_as_first_divergence(proven: Proven) -> None:
    recorded = recorded_upstream(read_config(proven.folder), source=str(proven.source), audio=SPEECH)
    assert_diverges_first(
        load(proven.folder),
        recorded,
        REFERENCE,
        parameter="encoder.blocks.3.mlp.layers.1.weight",
        case="control",
        tap="encoder.blocks.3",
    )


def test_a_state_dict_gives_the_same_folder(proven: Proven, tmp_path: Path) -> None:
    """What the s3tokenizer package makes of the published model."""
    if proven.target.variant != "v2-25hz":
        pytest.skip("once is enough")
    convert(exported(REFERENCE, proven.target.variant, tmp_path / "speech_tokenizer_v2_25hz.pt"), tmp_path / "model")
    first, second = (mx.load(str(folder / "model.safetensors")) for folder in (proven.folder, tmp_path / "model"))
    assert isinstance(first, dict) and isinstance(second, dict) and first.keys() == second.keys()
    assert all(mx.array_equal(first[name], second[name]) for name in first)
