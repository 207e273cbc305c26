"""convert() and inspect(): every format gives the same folder, every failure is named and leaves nothing behind."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import mlx.nn as nn
import numpy as np
import pytest
from folders import content
from safetensors.numpy import load_file
from small_ports import (
    TOY_WEIGHTS,
    Tensors,
    Toy,
    ToyConfig,
    resemblyzer_tree,
    safetensors_file,
    sharded_files,
    torch_file,
    toy_port,
    toy_tensors,
    voice_encoder_tensors,
)

from pytorch_to_mlx import conversion, convert, environments, hub, inspect, load, registry
from pytorch_to_mlx.errors import FolderError, SourceError, UsageError, WeightMapError
from pytorch_to_mlx.port import Part, Variant

TENSORS = toy_tensors()


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._added, "toy", toy_port())


@pytest.fixture
def source(tmp_path: Path) -> str:
    return str(safetensors_file(tmp_path / "source" / "toy.safetensors", TENSORS))


def changed(folder: Path, **tensors: np.ndarray | None) -> str:
    """A checkpoint of the toy with some tensors replaced, added or (None) left out; `__` stands for a dot."""
    other = {name.replace("__", "."): array for name, array in tensors.items()}
    held = {name: array for name, array in {**TENSORS, **other}.items() if array is not None}
    return str(safetensors_file(folder / "changed.safetensors", held))


# Formats

FORMATS: dict[str, Callable[[Path], Path]] = {
    "safetensors": lambda folder: safetensors_file(folder / "toy.safetensors", TENSORS),
    "safetensors in a folder": lambda folder: safetensors_file(folder / "toy.safetensors", TENSORS).parent,
    "sharded, its index": lambda folder: sharded_files(folder, TENSORS),
    "sharded, its folder": lambda folder: sharded_files(folder, TENSORS).parent,
    "zip": lambda folder: torch_file(folder / "toy.pt", TENSORS),
    "old pickle": lambda folder: torch_file(folder / "toy.pt", TENSORS, old=True),
    "in another order": lambda folder: torch_file(folder / "toy.bin", dict(reversed(TENSORS.items()))),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_weights(tmp_path: Path, source: str, kind: str) -> None:
    expected = convert(source, tmp_path / "expected", variant="small")
    made = convert(str(FORMATS[kind](tmp_path / "other")), tmp_path / "made", variant="small")
    assert content(made.folder)["model.safetensors"] == content(expected.folder)["model.safetensors"]
    assert made.config.model_copy(update={"source": expected.config.source}) == expected.config
    np.testing.assert_array_equal(load(made.folder).run(), load(expected.folder).run())


def test_the_two_layouts_of_the_voice_encoder_give_the_same_weights(tmp_path: Path) -> None:
    """Chatterbox's flat file, and Resemblyzer's nested ones beside the state of an optimizer."""
    tensors = voice_encoder_tensors()
    flat = convert(str(safetensors_file(tmp_path / "ve.safetensors", tensors)), tmp_path / "flat")
    assert (flat.config.model_type, flat.config.variant) == ("voice_encoder", "chatterbox")
    for old in (False, True):
        file = torch_file(tmp_path / f"pretrained-{old}.pt", resemblyzer_tree(tensors), old=old)
        nested = convert(str(file), tmp_path / f"nested-{old}")
        assert (nested.config.model_type, nested.config.variant) == ("voice_encoder", "resemblyzer")
        assert content(nested.folder)["model.safetensors"] == content(flat.folder)["model.safetensors"]
        dropped = {row.source for row in nested.accounting if not row.target}
        assert {name.partition(".")[0] for name in dropped} == {"optimizer_state", "model_state"}
        assert {name for name in dropped if name.startswith("model_state")} == {
            "model_state.similarity_weight",
            "model_state.similarity_bias",
        }


@pytest.mark.parametrize("quantize", [False, True])
def test_twice_gives_identical_bytes(tmp_path: Path, source: str, quantize: bool) -> None:
    for name in ("one", "two"):
        convert(source, tmp_path / name, variant="small", quantize=quantize, q_group_size=32 if quantize else None)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert set(content(tmp_path / "one")) == {"README.md", "config.json", "model.safetensors"}


# What is written


def test_config_and_accounting(tmp_path: Path, source: str) -> None:
    seen: list[tuple[str, int, int]] = []
    made = convert(source, tmp_path / "made", variant="small", progress=lambda *step: seen.append(step))
    config = json.loads((tmp_path / "made" / "config.json").read_text())
    assert config["model_type"] == "toy"
    assert (config["variant"], config["task"], config["dtype"]) == ("small", "nothing", "float32")
    assert config["config"] == {"inputs": 4, "width": 32, "layers": 2}
    size = Path(source).stat().st_size
    assert config["source"] == {
        "kind": "file",
        "location": "toy.safetensors",
        "files": [{"name": "toy.safetensors", "bytes": size}],
    }
    assert not [name for name, data in content(made.folder).items() if str(tmp_path).encode() in data]
    assert {row.source for row in made.accounting} == set(TENSORS)
    assert {row.source for row in made.accounting if not row.target} == {"steps"}
    written = load_file(made.folder / "model.safetensors")
    assert {row.target for row in made.accounting if row.target} == set(written)
    assert made.bytes == sum(array.nbytes for array in written.values())
    assert [name for name, _, _ in seen] == list(dict.fromkeys(name for name, _, _ in seen))
    assert seen[-1][1:] == (made.bytes, made.bytes)


@pytest.mark.parametrize(("dtype", "numpy_dtype"), [("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16)])
def test_dtype(tmp_path: Path, source: str, dtype: Any, numpy_dtype: type) -> None:
    convert(source, tmp_path / "float32", variant="small")
    made = convert(source, tmp_path / "made", variant="small", dtype=dtype)
    assert made.config.dtype == dtype
    whole, cast = load(tmp_path / "float32"), load(made.folder)
    for leaf, array in whole.network.norm.parameters().items():
        found = cast.network.norm.parameters()[leaf]
        assert str(found.dtype) == f"mlx.core.{dtype}"
        expected = np.array(array).astype(numpy_dtype).astype(np.float32)
        np.testing.assert_array_equal(np.array(found.astype(array.dtype)), expected)
    difference = np.abs(whole.run() - cast.run()).max()
    assert 0 < difference < 0.05


@pytest.mark.parametrize("stored", [np.float64, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2])
def test_types_that_mlx_has_not_everywhere_are_cast(tmp_path: Path, stored: type) -> None:
    """float64 becomes float32 by itself; float8 needs a word."""
    tensors = {name: a if a.dtype.kind == "i" else a.astype(stored) for name, a in TENSORS.items()}
    file = str(safetensors_file(tmp_path / "toy.safetensors", tensors))
    if stored is not np.float64:
        with pytest.raises(FolderError, match=r"is float8_e\w+, which MLX has not: cast it"):
            convert(file, tmp_path / "made", variant="small")
    made = convert(file, tmp_path / "made", variant="small", dtype=None if stored is np.float64 else "float32")
    assert made.config.dtype == "float32"
    written = load_file(made.folder / "model.safetensors")
    np.testing.assert_array_equal(written["norm.bias"], tensors["norm.bias"].astype(np.float32))


def test_two_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose networks lie in two files: each has its map, and its parameters a prefix."""

    class Pair(nn.Module):
        def __init__(self, config: ToyConfig) -> None:
            super().__init__()
            self.encoder, self.decoder = Toy(config), Toy(config)

    parts = tuple(Part((f"{name}.safetensors",), {}, TOY_WEIGHTS, f"{name}.") for name in ("encoder", "decoder"))
    variant = Variant("both", "", "MIT", ToyConfig(4, 32, 2), parts)
    port = toy_port(name="pair", variants={"both": variant}, build=Pair, model=lambda network, config, folder: network)
    monkeypatch.setitem(registry._added, "pair", port)
    other = toy_tensors() | {"norm.bias": np.full(32, 5, np.float32)}
    safetensors_file(tmp_path / "source" / "encoder.safetensors", TENSORS)
    with pytest.raises(SourceError, match="none of the models known"):
        convert(str(tmp_path / "source"), tmp_path / "made")
    safetensors_file(tmp_path / "source" / "decoder.safetensors", other)
    made = convert(str(tmp_path / "source"), tmp_path / "made")
    written = load_file(made.folder / "model.safetensors")
    assert {name.partition(".")[0] for name in written} == {"encoder", "decoder"}
    assert written["decoder.norm.bias"].tolist() == [5] * 32
    np.testing.assert_array_equal(written["encoder.norm.bias"], TENSORS["norm.bias"])
    assert [file.name for file in made.config.source.files] == ["encoder.safetensors", "decoder.safetensors"]
    load(made.folder)


# Failures

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"norm__weight": None}, r"changed\.safetensors does not fit: .*nothing fills norm\.weight \(32,\)"),
    "extra": ({"norm__eps": np.ones(1, np.float32)}, r"norm\.eps maps to norm\.eps, which the model does not have"),
    "unknown": ({"ema": np.ones(1, np.float32)}, r"left over ema \(1,\)"),
    "shape": ({"norm__bias": np.ones(31, np.float32)}, r"norm\.bias gives norm\.bias shape \(31,\)"),
    "layout": ({"stem__weight_v": np.ones((32, 12), np.float32)}, r"stem\.weight_g, stem\.weight_v: .*\(32, 1, 1\)"),
    "integers": ({"norm__bias": np.ones(32, np.int32)}, r"norm\.bias is int32, the model has floating-point numbers"),
    "dropped too few": ({"steps": None}, r"missing steps"),
    "too large": (
        {"norm__bias": np.full(32, 1e5, np.float32)},
        r"norm\.bias has values too large for float16.*bfloat16",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_tensor_that_does_not_fit_is_named(tmp_path: Path, source: str, case: str) -> None:
    tensors, message = WRONG[case]
    bad = changed(tmp_path / "source", **tensors)
    with pytest.raises(WeightMapError, match=message):
        convert(bad, tmp_path / "made", variant="small", dtype="float16")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    convert(source, tmp_path / "made", variant="small")
    before = content(tmp_path / "made")
    with pytest.raises(WeightMapError, match=message):
        convert(bad, tmp_path / "made", variant="small", dtype="float16", force=True)
    assert content(tmp_path / "made") == before
    if case != "too large":  # inspect reads no values
        found = inspect(bad, variant="small")
        assert found.match is not None and not found.accounting
        assert any(name in problem for problem in found.problems for name in ("norm", "ema", "stem", "steps"))


def test_infinities_of_the_checkpoint_are_not_taken_for_an_overflow(tmp_path: Path) -> None:
    bias = np.array([np.inf, -np.inf, np.nan, 1] * 8, np.float32)
    made = convert(changed(tmp_path, norm__bias=bias), tmp_path / "made", variant="small", dtype="float16")
    np.testing.assert_array_equal(load_file(made.folder / "model.safetensors")["norm.bias"], bias.astype(np.float16))


def test_an_existing_folder_needs_force(tmp_path: Path, source: str) -> None:
    convert(source, tmp_path / "made", variant="small")
    with pytest.raises(FolderError, match="--force"):
        convert(source, tmp_path / "made", variant="small", dtype="float16")
    convert(source, tmp_path / "made", variant="small", dtype="float16", force=True)
    assert load(tmp_path / "made").network.norm.bias.dtype.size == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(FolderError, match="is no model folder, so never replaced"):
        convert(source, tmp_path / "mine", variant="small", force=True)


def test_what_cannot_succeed_is_told_before_the_source_is_fetched(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(Path(source), tmp_path / "made", variant="small")
    before = content(tmp_path / "made")
    monkeypatch.setattr(conversion, "match", lambda *_, **__: pytest.fail("the source was asked for"))
    with pytest.raises(FolderError, match="--force"):
        convert(source, tmp_path / "made")
    with pytest.raises(SourceError, match="acme/bad name: not a Hub repository"):
        convert(source, tmp_path / "other", upload_repo="acme/bad name")
    assert content(tmp_path / "made") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "source"]


def test_a_failed_upload_tells_where_the_folder_is(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def refuse(folder: Path, repo_id: str, *, private: bool) -> str:
        asked.append(private)
        raise SourceError(f"{repo_id}: refused")

    monkeypatch.setattr(hub, "upload", refuse)
    made = tmp_path / "made"
    with pytest.raises(SourceError, match=f"^converted to {made}, but not uploaded: acme/toy: refused$"):
        convert(source, made, variant="small", upload_repo="acme/toy", private=True)
    assert asked == [True]
    load(made)


# Choices


def test_several_variants_fit(tmp_path: Path) -> None:
    deep = str(safetensors_file(tmp_path / "toy.safetensors", toy_tensors(layers=3)))
    with pytest.raises(
        SourceError, match=r"holds several models; choose one with --variant: small \(toy\), deep \(toy\)"
    ):
        convert(deep, tmp_path / "made")
    with pytest.raises(SourceError, match="holds several models; choose one with --variant"):
        inspect(Path(deep))
    assert convert(deep, tmp_path / "made", variant="deep").config.config["layers"] == 3
    with pytest.raises(
        WeightMapError, match=r"blocks\.2\.weight maps to layers\.2\.weight, which the model does not have"
    ):
        convert(deep, tmp_path / "other", variant="small")


def test_one_variant_fits(tmp_path: Path, source: str) -> None:
    assert convert(source, tmp_path / "made").config.variant == "small"
    assert convert(source, tmp_path / "again", port="toy").config.model_type == "toy"
    choices: list[tuple[dict[str, Any], str]] = [
        ({"variant": "deep"}, r"deep \(toy\)"),
        ({"port": "crepe"}, r"tiny \(crepe\), full \(crepe\)"),
    ]
    for choice, asked in choices:
        with pytest.raises(SourceError, match=rf"toy\.safetensors holds small \(toy\), not {asked}; choose another"):
            convert(source, tmp_path / "other", **choice)
        assert "holds small (toy)" in inspect(source, **choice).problems[0]
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (
            {"variant": "huge"},
            r"--variant huge: no such variant; known: resemblyzer, chatterbox, tiny, .*, small, deep",
        ),
        ({"port": "toy", "variant": "tiny"}, "--variant tiny: no such variant; known: small, deep"),
        ({"port": "toi"}, "no port is called 'toi'; known: voice_encoder, crepe, .*, toy"),
        ({"include": ["lyrics"]}, "--include-lyrics: no such optional part"),
        ({"dtype": "float8"}, "--dtype float8 is not float32, float16 or bfloat16"),
        ({"q_bits": 8}, "--q-bits 8 is for quantizing; add -q"),
        ({"q_group_size": 32}, "--q-group-size 32 is for quantizing; add -q"),
        ({"private": True}, "--private is for uploads; add --upload-repo"),
        ({"revision": "main"}, "--revision main is for Hub repositories"),
    ],
)
def test_choices_that_there_are_not(tmp_path: Path, source: str, choice: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        convert(source, tmp_path / "made", **choice)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("name", ["stranger.safetensors", ""])
def test_an_unknown_checkpoint_lists_what_is_known(tmp_path: Path, name: str) -> None:
    unknown: Tensors = {"encoder.weight": np.ones((2, 3), np.float32)}
    safetensors_file(tmp_path / "unknown" / "stranger.safetensors", unknown)
    path = str(tmp_path / "unknown" / name)
    known = r"voice_encoder \(resemblyzer, chatterbox\), crepe \(tiny, full\), .*, toy \(small, deep\)"
    known += r"; only if asked for: --variant english-community .*"
    with pytest.raises(SourceError, match=f"is none of the models known by name: {known}; pytorch-to-mlx inspect"):
        convert(path, tmp_path / "made")
    found = inspect(path)
    assert found.match is None
    assert [(tensor.name, tensor.shape) for tensor in found.tensors] == [("encoder.weight", (2, 3))]
    assert "is none of the models known" in found.problems[0]
    assert "pytorch-to-mlx inspect" not in found.problems[0]


def test_a_file_of_the_right_name_with_other_tensors(tmp_path: Path) -> None:
    safetensors_file(tmp_path / "source" / "toy.safetensors", {"encoder.weight": np.ones((2, 3), np.float32)})
    with pytest.raises(SourceError, match=r"toy\.safetensors is not toy small: it lacks gates\.weight \(64, 32\)"):
        convert(str(tmp_path / "source"), tmp_path / "made", variant="small")


def test_a_folder_is_not_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be large, or hold folders that may not be entered."""
    folder = safetensors_file(tmp_path / "source" / "toy.safetensors", TENSORS).parent
    monkeypatch.setattr(Path, "rglob", lambda *_: pytest.fail("the folder was searched"))
    found = inspect(str(folder), variant="small")
    assert found.match is not None and not found.problems


def test_inspect_a_package_of_a_reference_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "search_paths", lambda: [tmp_path])
    (tmp_path / "speechbox-1.0.dist-info").mkdir()
    about = "Metadata-Version: 2.1\nName: speechbox\nVersion: 1.0\n"
    (tmp_path / "speechbox-1.0.dist-info" / "METADATA").write_text(about, encoding="utf-8")
    unknown: Tensors = {"encoder.weight": np.ones((2, 3), np.float32)}
    safetensors_file(tmp_path / "speechbox" / "stranger.safetensors", unknown)
    found = inspect("package:speechbox")
    assert [tensor.name for tensor in found.tensors] == ["encoder.weight"]
    for name in ("tiny.pth", "full.pth"):
        safetensors_file(tmp_path / "speechbox" / "assets" / name, unknown)
    with pytest.raises(SourceError, match=r"choose one with --variant: tiny \(crepe\), full \(crepe\)"):
        inspect("package:speechbox")


def test_inspect_tells_what_becomes_of_each_tensor(source: str) -> None:
    found = inspect(source)
    assert found.match is not None and found.match.variant.name == "small" and not found.problems
    assert {tensor.name for tensor in found.tensors} == set(TENSORS)
    actions = {row.target: row.action for row in found.accounting}
    assert actions["stem.weight"] == "fold weight norm, OIK->OKI"
    assert actions["right.weight"] == "split axis 0 in 2"
    assert actions[""] == "drop: counts training steps"
