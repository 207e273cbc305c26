"""The watermarker with its trained weights: tap by tap, and each side's detector on what the other marked."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytorch_to_mlx import Audio, convert, environments, load, registry, validate
from pytorch_to_mlx.parity import Recording
from pytorch_to_mlx.validation.recordings import Originals, record_reference

pytestmark = pytest.mark.parity

AUDIO = Path(__file__).parents[3] / "shared" / "audio"
SPEECH = [AUDIO / "libritts_2299_6524_000057_000000.wav", AUDIO / "jfk.flac"]
SECONDS = 3.0
SOURCE = "package:resemble-perth"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    environments.install(environments.of_script(registry.get("perth").reference.script), print)
    folder = tmp_path_factory.mktemp("models") / "perth"
    convert(SOURCE, folder)
    return folder


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Audio:
    """Real speech where this checkout lies beside the shared recordings, else the reference's speech-like signal."""
    if SPEECH[0].exists():
        return Audio.read(SPEECH[0]).part(0, SECONDS)
    from small_ports import SEED

    return Audio(SEED.speechlike(1, SECONDS, 24000), 24000)


def test_every_tap_holds_and_every_parameter_matters(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = validate(folder, audio=[path for path in SPEECH if path.exists()], seconds=SECONDS, note=print)
    with capsys.disabled():
        print("\n" + report.summary())
    assert report.passed, report.markdown()
    assert report.controls is not None and (report.controls.perturbed, report.controls.unmoved) == (56, ())


def test_each_side_detects_what_the_other_marked(folder: Path, speech: Audio, tmp_path: Path) -> None:
    """As files of 16 bits, which is how marked speech travels."""
    ours = load(folder)
    clean, marked = tmp_path / "clean.wav", tmp_path / "marked_by_ours.wav"
    speech.write(clean)
    ours.apply(speech).write(marked)
    reference = registry.get("perth").reference
    source = next(
        path / "perth" / "perth_net" / "pretrained" / "implicit" / "perth_net_250000.pth.tar"
        for path in environments.search_paths()
        if (path / "perth" / "perth_net").is_dir()
    )
    path = record_reference(reference, "implicit", originals=Originals(source, (source,)), audio=[clean, marked])
    cases = {case.name: case for case in Recording.read(path).cases}
    assert cases["perth/clean"].taps["confidence"][0] < 0.2
    assert cases["perth/marked_by_ours"].taps["confidence"][0] > 0.8
    theirs = Audio(cases["perth/clean"].taps["watermarked"], speech.rate)
    theirs.write(tmp_path / "marked_by_upstream.wav")
    assert ours.detect(Audio.read(tmp_path / "marked_by_upstream.wav")) > 0.8
    assert ours.detect(speech) < 0.2
