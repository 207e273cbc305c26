"""Fixtures for other ports, from a committed recording: what the manifest says is what the files hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_room import command
from safetensors.numpy import load_file

from pytorch_to_mlx import environments, registry
from pytorch_to_mlx.errors import FolderError, ParityError
from pytorch_to_mlx.parity import Recording
from pytorch_to_mlx.validation import fixtures

GOLDEN = Path(__file__).parent / "goldens" / "crepe-tiny.safetensors"
CREPE = registry.get("crepe")

Export = Callable[[Path], dict[str, Any]]


@pytest.fixture
def export(monkeypatch: pytest.MonkeyPatch) -> Export:
    """Exports the golden's cases; the reference's own `export` is a stand-in that writes what it was asked for."""

    def run(environment: environments.Environment, script: str, arguments: list[str]) -> None:
        Path(arguments[arguments.index("--out") + 1]).write_text(" ".join(arguments[:-1]))

    monkeypatch.setattr(environments, "install", lambda environment, note: None)
    monkeypatch.setattr(environments, "run", run)
    monkeypatch.setattr(fixtures, "record_reference", lambda *_, **__: GOLDEN)

    def export(folder: Path) -> dict[str, Any]:
        fixtures.export_fixtures(CREPE, "tiny", folder, seed=3)
        return json.loads((folder / "manifest.json").read_text())

    return export


def test_the_manifest_describes_every_tensor_of_every_file(export: Export, tmp_path: Path) -> None:
    told = export(tmp_path / "out")
    recorded = {case.name: case for case in Recording.read(GOLDEN).cases if case.taps}
    assert [case["name"] for case in told["cases"]] == list(recorded)
    for case in told["cases"]:
        held = load_file(tmp_path / "out" / case["file"])
        assert {t["name"]: (tuple(t["shape"]), t["dtype"]) for t in case["tensors"]} == {
            name: (value.shape, value.dtype.name) for name, value in held.items()
        }
        taps = [t["name"].removeprefix("tap/") for t in case["tensors"] if t["name"].startswith("tap/")]
        assert taps == list(recorded[case["name"]].taps)  # in order of execution
        for name in taps:
            assert (held[f"tap/{name}"] == recorded[case["name"]].taps[name]).all()


def test_tolerances_are_those_of_the_port_with_upstreams_own_error(export: Export, tmp_path: Path) -> None:
    told = export(tmp_path / "out")
    (case,) = [case for case in told["cases"] if case["name"] == "short"]
    tensors = {t["name"]: t for t in case["tensors"]}
    probabilities = tensors["tap/probabilities"]["tolerance"]
    assert (probabilities["kind"], probabilities["limit"]) == ("relative", 1e-5) and 0 < probabilities["floor"] < 1e-5
    assert tensors["tap/argmax/bins"]["tolerance"] == {"kind": "exact", "candidates": "probabilities"}
    assert tensors["tap/viterbi/pitch"]["tolerance"]["where"] == "periodicity"
    assert "tolerance" not in tensors["input/wav"] and "tolerance" not in tensors["noise/dither_bins"]
    layer = tensors["tap/conv2"]
    assert (layer["layout"], layer["mlx_layout"], layer["leading"]) == ("NCL1", "NLC", True)
    assert {t["tolerance"]["kind"] for t in tensors.values() if "tolerance" in t} <= told["tolerances"].keys()


def test_the_checkpoint_is_what_the_reference_writes(export: Export, tmp_path: Path) -> None:
    told = export(tmp_path / "out")
    written = tmp_path / "out" / "checkpoint" / "tiny.pth"  # as the port looks for it
    assert written.read_text() == "export --variant tiny --seed 3 --out"
    assert told["checkpoint"] == {"sha256": Recording.read(GOLDEN).checkpoint, "files": ["tiny.pth"]}
    assert told["seed"] == 3 and told["variant"] == "tiny" and told["upstream"] == CREPE.reference.upstream
    assert "crepe (tiny)" in (tmp_path / "out" / "README.md").read_text()


def test_a_line_for_each_tensor(export: Export, tmp_path: Path) -> None:
    told = export(tmp_path / "out")
    lines = (tmp_path / "out" / "manifest.json").read_text().splitlines()
    assert sum('"shape"' in line for line in lines) == sum(len(case["tensors"]) for case in told["cases"])


def test_a_folder_with_something_in_it_is_left_alone(export: Export, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(FolderError, match=r"is not empty; export to a new folder"):
        export(tmp_path)
    with pytest.raises(FolderError, match=r"is not empty"):
        export(tmp_path / "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_dead_recording_is_not_exported(export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dead(*_: object) -> None:
        raise ParityError("case short is dead")

    monkeypatch.setattr(fixtures, "check_alive", dead)
    with pytest.raises(ParityError, match="dead"):
        export(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", ["export", "checkpoint"])
def test_an_unknown_variant_is_one_line(verb: str, tmp_path: Path) -> None:
    done = command("reference", verb, "crepe", "--variant", "huge", "-o", tmp_path / "out")
    assert done.returncode == 2 and "--variant huge: crepe has tiny, full" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "out").exists()


def test_small_variants_are_named_where_there_are_some(tmp_path: Path) -> None:
    done = command("reference", "checkpoint", "qwen3_tts", "--variant", "huge", "-o", tmp_path / "out")
    assert done.returncode == 2 and "1.7b-voice-design, 0.6b-base-reduced," in done.stderr
    done = command("reference", "export", "qwen3_tts", "--variant", "0.6b-base-reduced", "-o", tmp_path / "out")
    assert done.returncode == 2 and "qwen3_tts has 0.6b-base" in done.stderr
