"""Tensors in model folders: the bytes of safetensors files, shards and their index, and reading them back."""

import json
import mmap
import os
import tracemalloc
import weakref
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import mlx.core as mx
import numpy as np
import onnx
import pytest
import safetensors.numpy
from folders import TENSOR_BYTES, TENSORS, content, names, specs_of, write_folder

from pytorch_to_mlx.errors import CheckpointError, FolderError, SourceError, UnsafeFileError
from pytorch_to_mlx.folder import FolderWriter, load_weights, weight_files
from pytorch_to_mlx.weights import TensorSpec

DTYPES = [np.dtype(code) for code in "?bBhHefiIqQ"] + [np.dtype(ml_dtypes.bfloat16)]


def all_dtypes() -> dict[str, np.ndarray]:
    """Narrow types first and odd lengths, so that only a sorted layout is aligned."""
    return {
        **{dtype.name: np.array([1, 0, 1, 1, 0, 1, 1]).astype(dtype) for dtype in DTYPES},
        "scalar": np.array(2.5, np.float32),
        "empty": np.zeros((0, 3), np.int8),
        "strided": np.arange(24, dtype=np.float32).reshape(4, 6).T,
    }


def test_every_dtype_and_shape_reads_back(tmp_path: Path) -> None:
    tensors = all_dtypes()
    write_folder(tmp_path / "model", tensors)
    theirs = safetensors.numpy.load_file(tmp_path / "model/model.safetensors")
    ours = load_weights(tmp_path / "model")
    assert ours.keys() == theirs.keys() == tensors.keys()
    for name, array in tensors.items():
        assert theirs[name].dtype == array.dtype and theirs[name].shape == array.shape
        np.testing.assert_array_equal(theirs[name], array)
        assert ours[name].shape == array.shape
        assert str(ours[name].dtype) == f"mlx.core.{array.dtype.name}"
        assert mx.array_equal(ours[name].astype(mx.float32), mx.array(array.astype(np.float32)))


def test_same_bytes_as_the_safetensors_library(tmp_path: Path) -> None:
    """Same layout, same padding, same metadata; for names in the order in which the library sorts them."""
    write_folder(tmp_path / "model")
    library = safetensors.numpy.save(TENSORS, metadata={"format": "mlx"})
    assert (tmp_path / "model/model.safetensors").read_bytes() == library


def test_every_tensor_is_aligned(tmp_path: Path) -> None:
    write_folder(tmp_path / "model", all_dtypes())
    data = (tmp_path / "model/model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert length % 8 == 0 and header.pop("__metadata__") == {"format": "mlx"}
    for name, array in all_dtypes().items():
        assert header[name]["data_offsets"][0] % array.dtype.itemsize == 0


@pytest.mark.parametrize(
    ("per_shard", "expected"),
    [(4, [4]), (5, [4]), (3, [3, 1]), (2, [2, 2]), (2.9, [2, 2]), (1, [1, 1, 1, 1]), (0.5, [1, 1, 1, 1])],
)
def test_shard_boundaries_and_index(tmp_path: Path, per_shard: float, expected: list[int]) -> None:
    """A shard holds up to the limit and not a byte more, except a tensor that is larger alone."""
    write_folder(tmp_path / "model", max_shard_bytes=int(per_shard * TENSOR_BYTES))
    count = len(expected)
    shards = [f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
    files = weight_files(tmp_path / "model")
    assert [file.name for file in files] == (shards if count > 1 else ["model.safetensors"])
    assert [len(safetensors.numpy.load_file(file)) for file in files] == expected
    index_file = tmp_path / "model/model.safetensors.index.json"
    assert index_file.exists() == (count > 1)
    if count > 1:
        index = json.loads(index_file.read_text())
        where = [shard for shard, size in zip(shards, expected, strict=True) for _ in range(size)]
        assert index["metadata"] == {"total_size": 4 * TENSOR_BYTES}
        assert index["weight_map"] == dict(zip(TENSORS, where, strict=True))
    loaded = load_weights(tmp_path / "model")
    assert loaded.keys() == TENSORS.keys()
    assert all(np.array_equal(loaded[name], array) for name, array in TENSORS.items())


def test_converting_twice_gives_identical_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_folder(tmp_path / name, all_dtypes(), max_shard_bytes=100)
    assert len(weight_files(tmp_path / "one")) > 1
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may take less than it is given: always above 2 GB, and near a full disk."""
    write_folder(tmp_path / "whole")
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[:7], offset))
    write_folder(tmp_path / "bitwise")
    monkeypatch.undo()
    assert content(tmp_path / "whole") == content(tmp_path / "bitwise")


def test_tensors_are_written_from_their_own_buffers(tmp_path: Path) -> None:
    """A map of a file, read-only, larger than what may be allocated on the way."""
    size = 16 * 2**20
    (tmp_path / "source").write_bytes(bytes(size))
    with (tmp_path / "source").open("rb") as file:
        source = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    specs = [TensorSpec("a", (size // 4,), "bfloat16"), TensorSpec("b", (size // 8,), "float32")]
    arrays = [
        ("a", np.frombuffer(source, ml_dtypes.bfloat16, size // 4)),
        ("b", np.frombuffer(source, np.float32, size // 8, size // 2)),
    ]
    with FolderWriter(tmp_path / "model", force=False) as writer:
        writer.write_bytes("config.json", b'{"converter": {"name": "pytorch-to-mlx"}}')
        tracemalloc.start()
        writer.write_tensors(specs, iter(arrays))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < size / 16
    assert (tmp_path / "model/model.safetensors").stat().st_size > size


def test_a_tensor_is_let_go_before_the_next_is_made(tmp_path: Path) -> None:
    alive: list[weakref.ref[np.ndarray]] = []

    def tensors() -> Iterator[tuple[str, np.ndarray]]:
        for name, array in TENSORS.items():
            assert not [one for one in alive if one() is not None]
            fresh = array.copy()
            alive.append(weakref.ref(fresh))
            pair = (name, fresh)
            del fresh
            yield pair
            del pair

    with FolderWriter(tmp_path / "model", force=False) as writer:
        writer.write_bytes("config.json", b'{"converter": {"name": "pytorch-to-mlx"}}')
        writer.write_tensors(specs_of(TENSORS), tensors())
    assert len(alive) == len(TENSORS)


A, B = np.zeros((2, 3), np.float32), np.ones(3, np.int64)
SPECS = specs_of({"a": A, "b": B})


@pytest.mark.parametrize(
    ("specs", "tensors", "message"),
    [
        (SPECS, [("a", A)], "b: was announced, but the tensors ended before it"),
        (SPECS, [("a", A), ("b", B), ("c", B)], "c: is a tensor that was not announced"),
        (SPECS, [("b", B), ("a", A)], "a: was announced as float32"),
        (
            SPECS,
            [("a", A.T), ("b", B)],
            "a: was announced as float32 (2, 3), but a came as <f4 float32 (3, 2)",
        ),
        (SPECS, [("a", A.astype(np.float16)), ("b", B)], "but a came as <f2"),
        (SPECS, [("a", A.astype(">f4")), ("b", B)], "but a came as >f4"),
        ([*SPECS, SPECS[0]], [], "a: is taken"),
        ([TensorSpec("__metadata__", (1,), "int8")], [], "__metadata__: is taken"),
        ([TensorSpec("a", (1,), "float64")], [], "a: is float64, which MLX has not"),
        ([TensorSpec("a", (1,), "float8_e4m3fn")], [], "a: is float8_e4m3fn, which MLX has not"),
        ([], [], "model.safetensors: there are no tensors to write"),
    ],
)
def test_tensors_that_disagree_with_the_announcement(
    tmp_path: Path, specs: list[TensorSpec], tensors: list[tuple[str, np.ndarray]], message: str
) -> None:
    with pytest.raises(FolderError) as caught, FolderWriter(tmp_path / "model", force=False) as writer:
        writer.write_tensors(specs, iter(tensors))
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert names(tmp_path) == []


def sharded(folder: Path) -> Path:
    """A folder of two shards; the first file of it."""
    write_folder(folder, max_shard_bytes=2 * TENSOR_BYTES)
    return folder / "model-00001-of-00002.safetensors"


def test_damaged_weights_never_reach_mlx(tmp_path: Path) -> None:
    """MLX would read a tensor whose offsets lie outside of the file."""
    first = sharded(tmp_path / "model")
    first.write_bytes(first.read_bytes().replace(b"[0,48]", b"[0,96]"))
    with pytest.raises(CheckpointError, match=first.name):
        load_weights(tmp_path / "model")


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    first = sharded(tmp_path / "model")
    first.unlink()
    with pytest.raises(CheckpointError, match=first.name):
        weight_files(tmp_path / "model")


@pytest.mark.parametrize("name", ["model-00003-of-00003.safetensors", "model.safetensors"])
def test_weights_beside_those_of_the_index_are_refused(tmp_path: Path, name: str) -> None:
    first = sharded(tmp_path / "model")
    (tmp_path / "model" / name).write_bytes(first.read_bytes())
    with pytest.raises(FolderError, match=r"belongs to no model\.safetensors"):
        weight_files(tmp_path / "model")


def test_shards_in_another_format_are_refused(tmp_path: Path) -> None:
    """They would be read safely, but not by MLX."""
    tensor = onnx.numpy_helper.from_array(np.zeros(2, np.float32), "a")
    graph = onnx.helper.make_graph([], "toy", [], [], [tensor])
    (tmp_path / "model").mkdir()
    onnx.save(onnx.helper.make_model(graph), tmp_path / "model/model-1.onnx")
    index = {"weight_map": {"a": "model-1.onnx"}}
    (tmp_path / "model/model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(FolderError, match=r"has no model\.safetensors or"):
        weight_files(tmp_path / "model")


def test_a_name_in_two_shards_is_refused(tmp_path: Path) -> None:
    first = sharded(tmp_path / "model")
    (tmp_path / "model/model-00002-of-00002.safetensors").write_bytes(first.read_bytes())
    with pytest.raises(CheckpointError, match="layers"):
        weight_files(tmp_path / "model")


def test_an_index_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    first = sharded(tmp_path / "model")
    first.rename(tmp_path / first.name)
    index = tmp_path / "model/model.safetensors.index.json"
    index.write_text(index.read_text().replace(first.name, f"../{first.name}"))
    with pytest.raises(UnsafeFileError):
        weight_files(tmp_path / "model")


def test_assets_are_no_weights(tmp_path: Path) -> None:
    """A voice may be a safetensors file too."""
    sharded(tmp_path / "model")
    safetensors.numpy.save_file({"speaker": A}, tmp_path / "model/voice.safetensors")
    assert load_weights(tmp_path / "model").keys() == TENSORS.keys()


def test_weights_under_another_name_are_not_the_models(tmp_path: Path) -> None:
    write_folder(tmp_path / "model")
    (tmp_path / "model/model.safetensors").rename(tmp_path / "model/voice.safetensors")
    with pytest.raises(FolderError, match=r"has no model\.safetensors or"):
        weight_files(tmp_path / "model")
    (tmp_path / "model/voice.safetensors").unlink()
    with pytest.raises(SourceError, match="holds no checkpoint"):
        weight_files(tmp_path / "model")
