"""Models of several checkpoints, one of them optional."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from small_ports import safetensors_file, toy_port

from pytorch_to_mlx import convert, environments, load, registry
from pytorch_to_mlx.checkpoint import formats
from pytorch_to_mlx.cli.convert import command
from pytorch_to_mlx.errors import CheckpointError, SourceError, UnrecognisedSourceError, UsageError, WeightMapError
from pytorch_to_mlx.port import Asset, Part, Variant
from pytorch_to_mlx.quantization import QuantizationPolicy
from pytorch_to_mlx.validation import validate
from pytorch_to_mlx.weights import Rename, WeightMap


@dataclass(frozen=True)
class DuoConfig:
    """A trunk, and a default voice or greeting if asked for."""

    width: int
    default_voice: bool = False
    greeting: bool = False


class Duo(nn.Module):
    """Two parts under prefixes, one of them nested in the namespace of the other."""

    def __init__(self, config: DuoConfig) -> None:
        super().__init__()
        self.scale = mx.ones(config.width)
        if config.default_voice:
            self.voice = nn.Linear(config.width, 2, bias=False)


PARTS = (
    Part(("trunk.safetensors",), {"scale": (4,)}, WeightMap(Rename("scale", "scale"))),
    Part(("conds.safetensors",), {"weight": (2, 4)}, WeightMap(Rename("weight", "weight")), "voice.", "default_voice"),
)


def _shouted(files: Mapping[str, Path]) -> bytes:
    return "".join(path.read_text().upper() for path in files.values()).encode()


ASSETS = (
    Asset("words.txt", ("words.txt",)),
    Asset("loud.txt", ("words.txt",), helpful=("more.txt", "none.txt"), make=_shouted),
    Asset("greeting.txt", ("greeting.txt",), optional="greeting", notice="This folder greets."),
)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    variant = Variant("only", "two parts", "MIT", DuoConfig(4), PARTS, assets=ASSETS)
    port = toy_port(
        name="duo",
        variants={"only": variant},
        config_type=DuoConfig,
        build=Duo,
        model=lambda network, config, folder: (network, config),
        quantization=QuantizationPolicy(),
    )
    monkeypatch.setitem(registry._added, "duo", port)
    safetensors_file(tmp_path / "source" / "trunk.safetensors", {"scale": np.arange(4, dtype=np.float32)})
    safetensors_file(tmp_path / "source" / "conds.safetensors", {"weight": np.full((2, 4), 7, np.float32)})
    for name in ("words", "more", "greeting"):
        (tmp_path / "source" / f"{name}.txt").write_text(f"{name} ")
    return tmp_path / "source"


def converted(source: Path, output: Path, **options: Any) -> tuple[Duo, DuoConfig]:
    convert(str(source), output, port="duo", **options)
    return load(output)


def test_an_optional_part_is_left_out_unless_asked_for(source: Path, tmp_path: Path) -> None:
    network, config = converted(source, tmp_path / "plain")
    assert config == DuoConfig(4) and "voice" not in network
    files = json.loads((tmp_path / "plain" / "config.json").read_text())["source"]["files"]
    assert [file["name"] for file in files] == ["trunk.safetensors", "words.txt", "more.txt"]


@pytest.mark.parametrize("name", ["default-voice", "default_voice"])
def test_an_optional_part_is_converted_recorded_and_loaded(source: Path, tmp_path: Path, name: str) -> None:
    network, config = converted(source, tmp_path / "whole", include=[name])
    assert config == replace(DuoConfig(4), default_voice=True)
    np.testing.assert_array_equal(np.array(network.voice.weight), np.full((2, 4), 7))
    np.testing.assert_array_equal(np.array(network.scale), np.arange(4))


def test_a_part_that_is_asked_for_must_be_there(source: Path, tmp_path: Path) -> None:
    (source / "conds.safetensors").unlink()
    with pytest.raises(SourceError):
        converted(source, tmp_path / "out", include=["default-voice"])
    assert not (tmp_path / "out").exists()


def test_a_file_that_may_not_be_read(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(formats, "map_file", refuse)
    with pytest.raises(CheckpointError, match=r"trunk\.safetensors: cannot be read \(Permission denied\)"):
        converted(source, tmp_path / "out")


def test_an_unknown_part_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--include-hair: no such optional part; known: default_voice"):
        converted(source, tmp_path / "out", include=["hair"])


def test_a_parameter_of_no_part_is_named(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = registry.get("duo")
    monkeypatch.setitem(
        registry._added, "duo", replace(port, build=lambda config: Duo(replace(config, default_voice=True)))
    )
    with pytest.raises(WeightMapError, match=r"nothing fills voice\.weight"):
        converted(source, tmp_path / "out")


def test_assets_are_copied_or_made(source: Path, tmp_path: Path) -> None:
    converted(source, tmp_path / "out")
    assert (tmp_path / "out" / "words.txt").read_text() == "words "
    assert (tmp_path / "out" / "loud.txt").read_text() == "WORDS MORE "
    assert not (tmp_path / "out" / "greeting.txt").exists()
    assert "greets" not in (tmp_path / "out" / "README.md").read_text()


def test_an_optional_asset_is_taken_if_asked_for_and_its_notice_is_in_the_card(source: Path, tmp_path: Path) -> None:
    _, config = converted(source, tmp_path / "out", include=["greeting"])
    assert config.greeting and not config.default_voice
    assert (tmp_path / "out" / "greeting.txt").read_text() == "greeting "
    assert "> This folder greets." in (tmp_path / "out" / "README.md").read_text()


def test_a_source_that_lacks_an_asset_is_not_the_model(source: Path, tmp_path: Path) -> None:
    (source / "words.txt").unlink()
    with pytest.raises(SourceError, match="none of the models"):
        converted(source, tmp_path / "out")


@pytest.fixture
def packaged(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The trunk in the source, the voice in an installed package."""
    (source / "conds.safetensors").rename(tmp_path / "moved")
    site = tmp_path / "site"
    (site / "voices").mkdir(parents=True)
    (tmp_path / "moved").rename(site / "voices" / "conds.safetensors")
    (site / "voices-1.2.dist-info").mkdir()
    (site / "voices-1.2.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: voices\nVersion: 1.2\n")
    (site / "voices-1.2.dist-info" / "top_level.txt").write_text("voices\n")
    monkeypatch.setattr(environments, "search_paths", lambda: [site])
    voice = replace(PARTS[1], optional="", package="voices")
    variant = Variant("only", "two parts", "MIT", DuoConfig(4, default_voice=True), (PARTS[0], voice))
    monkeypatch.setitem(registry._added, "duo", replace(registry.get("duo"), variants={"only": variant}))
    return site


def test_a_part_comes_from_a_package(source: Path, packaged: Path, tmp_path: Path) -> None:
    network, _ = converted(source, tmp_path / "out")
    np.testing.assert_array_equal(np.array(network.voice.weight), np.full((2, 4), 7))
    recorded = json.loads((tmp_path / "out" / "config.json").read_text())["source"]
    assert [file["name"] for file in recorded["files"]] == ["trunk.safetensors"]
    assert recorded["packaged"] == [{"package": "voices", "version": "1.2", "file": "conds.safetensors"}]
    assert "`voices 1.2`" in (tmp_path / "out" / "README.md").read_text()


def test_a_package_that_is_absent_is_brought_by_its_environment(
    source: Path, packaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []
    monkeypatch.setattr(environments, "search_paths", lambda: [packaged] if built else [])
    monkeypatch.setattr(environments, "get", lambda name: name)
    monkeypatch.setattr(environments, "install", built.append)
    converted(source, tmp_path / "out")
    assert built == ["voices"]


def test_a_package_without_the_file_is_named(source: Path, packaged: Path, tmp_path: Path) -> None:
    (packaged / "voices" / "conds.safetensors").unlink()
    with pytest.raises(SourceError, match=r"package voices 1\.2 has no conds\.safetensors"):
        converted(source, tmp_path / "out")


@pytest.fixture
def imports(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trunk under another program's name for it is an import; nothing else is left in the source."""
    (source / "trunk.safetensors").rename(source / "theirs.safetensors")
    theirs = Part(
        ("theirs.safetensors",), {"scale": (4,)}, PARTS[0].weights, refused={"packed": "is packed; unpack it"}
    )
    foreign = Variant("foreign", "theirs", "MIT", DuoConfig(4), (theirs,), "acme/duo", notice="They lost something.")
    monkeypatch.setitem(registry._added, "duo", replace(registry.get("duo"), imports={"foreign": foreign}))


@pytest.mark.usefixtures("imports")
def test_an_import_is_taken_where_it_is_asked_for(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UnrecognisedSourceError, match=r"duo \(only\); only if asked for: --variant foreign"):
        convert(str(source), tmp_path / "out", port="duo")
    made = convert(str(source), tmp_path / "out", variant="foreign")
    assert made.config.variant == "foreign" and made.notices == ("They lost something.",)
    np.testing.assert_array_equal(np.array(load(tmp_path / "out")[0].scale), np.arange(4))
    card = (tmp_path / "out" / "README.md").read_text()
    assert "> They lost something." in card
    assert "Imported from another program's conversion by pytorch-to-mlx" in card
    assert "Not validated: an import lacks the files" in card and "Not validated yet" not in card


@pytest.mark.usefixtures("imports")
def test_the_command_line_tells_what_an_import_lost(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command(str(source), tmp_path / "out", variant="foreign")
    told = capsys.readouterr().err
    assert "They lost something." in told and "validate" not in told


@pytest.mark.usefixtures("imports")
def test_an_import_is_not_validated(source: Path, tmp_path: Path) -> None:
    convert(str(source), tmp_path / "out", variant="foreign")
    with pytest.raises(UsageError, match=r"out is an import, .*; convert and validate acme/duo"):
        validate(tmp_path / "out", source=str(source))


@pytest.mark.usefixtures("imports")
def test_a_checkpoint_that_cannot_be_taken_is_refused_with_the_way_out(source: Path, tmp_path: Path) -> None:
    tensors = {"scale": np.zeros(4, np.float32), "packed": np.zeros(1, np.float32)}
    safetensors_file(source / "theirs.safetensors", tensors)
    with pytest.raises(UnrecognisedSourceError, match=r"^theirs\.safetensors is packed; unpack it"):
        convert(str(source), tmp_path / "out", variant="foreign")


def test_unknown_variants_are_told_which_there_are(source: Path, tmp_path: Path, imports: None) -> None:
    with pytest.raises(UsageError, match="no such variant; known: only, foreign"):
        convert(str(source), tmp_path / "out", port="duo", variant="none")
