"""Models of several checkpoints, one of them optional."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from small_ports import safetensors_file, toy_port

from pytorch_to_mlx import convert, load, registry
from pytorch_to_mlx.checkpoint import formats
from pytorch_to_mlx.errors import CheckpointError, SourceError, UsageError, WeightMapError
from pytorch_to_mlx.port import Part, Variant
from pytorch_to_mlx.quantization import QuantizationPolicy
from pytorch_to_mlx.weights import Rename, WeightMap


@dataclass(frozen=True)
class DuoConfig:
    """A trunk, and a default voice if it was asked for."""

    width: int
    default_voice: bool = False


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


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    variant = Variant("only", "two parts", "MIT", DuoConfig(4), PARTS)
    port = toy_port(
        name="duo",
        variants={"only": variant},
        config_type=DuoConfig,
        build=Duo,
        model=lambda network, config: (network, config),
        quantization=QuantizationPolicy(),
    )
    monkeypatch.setitem(registry._added, "duo", port)
    safetensors_file(tmp_path / "source" / "trunk.safetensors", {"scale": np.arange(4, dtype=np.float32)})
    safetensors_file(tmp_path / "source" / "conds.safetensors", {"weight": np.full((2, 4), 7, np.float32)})
    return tmp_path / "source"


def converted(source: Path, output: Path, **options: Any) -> tuple[Duo, DuoConfig]:
    convert(str(source), output, port="duo", **options)
    return load(output)


def test_an_optional_part_is_left_out_unless_asked_for(source: Path, tmp_path: Path) -> None:
    network, config = converted(source, tmp_path / "plain")
    assert config == DuoConfig(4) and "voice" not in network
    files = json.loads((tmp_path / "plain" / "config.json").read_text())["source"]["files"]
    assert [file["name"] for file in files] == ["trunk.safetensors"]


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
