"""Reading every format of checkpoint: names, types, values, laziness."""

import json
import re
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import checkpoint_files as make
import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from checkpoint_meter import measure
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch_file

from pytorch_to_mlx.checkpoint import Checkpoint, open_checkpoint
from pytorch_to_mlx.errors import CheckpointError, MissingDependencyError, SourceError

DTYPES = {
    torch.float64: "float64",
    torch.float32: "float32",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
    torch.float8_e4m3fn: "float8_e4m3fn",
    torch.float8_e5m2: "float8_e5m2",
    torch.int64: "int64",
    torch.int32: "int32",
    torch.int16: "int16",
    torch.int8: "int8",
    torch.uint64: "uint64",
    torch.uint32: "uint32",
    torch.uint16: "uint16",
    torch.uint8: "uint8",
    torch.bool: "bool",
    torch.complex64: "complex64",
}


def save_zip(tree: object, path: Path) -> None:
    torch.save(tree, path)


def save_old(tree: object, path: Path) -> None:
    torch.save(tree, path, _use_new_zipfile_serialization=False)


SAVERS = pytest.mark.parametrize("save", [save_zip, save_old], ids=["zip", "old"])
Saver = Callable[[object, Path], None]


def some_tensors() -> dict[str, torch.Tensor]:
    """One tensor of each type, values that each can hold."""
    values = torch.tensor([[0, 1, 3], [4, 1, 0]])
    return {f"layer.{name}": values.to(dtype) for dtype, name in DTYPES.items()}


def assert_same(checkpoint: Checkpoint, expected: dict[str, torch.Tensor]) -> None:
    assert sorted(checkpoint) == sorted(expected)
    for name, tensor in expected.items():
        read, info = checkpoint.read(name), checkpoint.info(name)
        assert (info.dtype, info.shape) == (DTYPES[tensor.dtype], tuple(tensor.shape))
        assert (read.dtype.name, read.shape) == (info.dtype, info.shape)
        assert info.nbytes == read.nbytes
        assert not read.flags.writeable
        np.testing.assert_array_equal(read.astype(np.complex128), tensor.to(torch.complex128).numpy())


def test_safetensors_of_every_type(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    expected = some_tensors()
    save_torch_file(expected, path, metadata={"format": "pt"})
    checkpoint = open_checkpoint(path)
    assert_same(checkpoint, expected)
    assert checkpoint.format == "safetensors"
    assert checkpoint.metadata == {"format": "pt"}
    assert (checkpoint.path, checkpoint.files) == (path, (path,))
    assert checkpoint.info("layer.bool").file == path


def test_safetensors_views_the_mapped_file_even_unaligned(tmp_path: Path) -> None:
    header = {"a": make.entry("U8", [3], 0, 3), "b": make.entry("F64", [2], 3, 19)}
    text = json.dumps(header).encode()
    content = make.safetensors_bytes(text, bytes([1, 2, 3]) + struct.pack("<2d", 1.5, -2.5))
    checkpoint = open_checkpoint(make.write(tmp_path / "odd.safetensors", content))
    unaligned = checkpoint.read("b")
    assert (8 + len(text) + 3) % 8, "the fixture is meant to be unaligned"
    assert not unaligned.flags.aligned
    assert not unaligned.flags.owndata
    assert unaligned.tolist() == [1.5, -2.5]


def test_safetensors_scalar_and_empty(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"scalar": np.array(3, np.int64), "empty": np.zeros((0, 4), np.float32)}, path)
    checkpoint = open_checkpoint(path)
    assert checkpoint.read("scalar").item() == 3
    assert checkpoint.read("empty").shape == (0, 4)
    assert checkpoint.info("empty").nbytes == 0


def test_arrays_outlive_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": np.arange(4.0)}, path)
    with open_checkpoint(path) as checkpoint:
        array = checkpoint.read("a")
    assert array.tolist() == [0, 1, 2, 3]
    with pytest.raises(CheckpointError, match="'a'"):
        checkpoint.read("a")


def test_an_unknown_name_is_an_error_that_names_file_and_tensor(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": np.arange(4.0)}, path)
    checkpoint = open_checkpoint(path)
    assert "a" in checkpoint
    assert "b" not in checkpoint
    assert len(checkpoint) == 1
    for ask in (checkpoint.info, checkpoint.read):
        with pytest.raises(CheckpointError, match=r"model\.safetensors.*'b'"):
            ask("b")


@SAVERS
def test_pickle_of_every_type(tmp_path: Path, save: Saver) -> None:
    expected = some_tensors()
    if save is save_old:  # types younger than the old format, which torch writes but cannot read back
        expected = {name: tensor for name, tensor in expected.items() if not re.search("float8|uint[136]", name)}
    save(OrderedDict(expected), tmp_path / "model.pt")
    checkpoint = open_checkpoint(tmp_path / "model.pt")
    assert_same(checkpoint, expected)
    assert checkpoint.format == ("torch-zip" if save is save_zip else "torch-legacy")


def test_types_younger_than_the_old_format_are_refused_by_name(tmp_path: Path) -> None:
    save_old({"layer": {"w": torch.ones(2).to(torch.uint16)}}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"tensor 'layer\.w' has dtype uint16.*zip"):
        open_checkpoint(tmp_path / "model.pt")


@SAVERS
def test_nested_pickle_is_flattened(tmp_path: Path, save: Saver) -> None:
    lstm = torch.nn.LSTM(3, 4)
    optimizer = torch.optim.Adam(lstm.parameters())
    lstm(torch.ones(2, 3))[0].sum().backward()
    optimizer.step()
    tree = {
        "step": 7,
        "model_state": lstm.state_dict(),  # an OrderedDict with attributes
        "optimizer": optimizer.state_dict(),
        "list": [torch.ones(2), "text", (torch.zeros(1), None, 1.5, torch.Size([1]), torch.float16)],
        "device": torch.device("cpu"),
        "bytes": b"\x00\xff",
        "parameter": torch.nn.Parameter(torch.full((2,), 5.0)),
        3: torch.ones(3),
    }
    save(tree, tmp_path / "model.pt")
    checkpoint = open_checkpoint(tmp_path / "model.pt")
    moments = {f"optimizer.state.{i}.{k}" for i in range(4) for k in ("step", "exp_avg", "exp_avg_sq")}
    assert set(checkpoint) - moments == {
        *(f"model_state.{name}" for name in lstm.state_dict()),
        *("list.0", "list.2.0", "parameter", "3"),
    }
    assert moments < set(checkpoint)
    weight = lstm.state_dict()["weight_ih_l0"].numpy()
    np.testing.assert_array_equal(checkpoint.read("model_state.weight_ih_l0"), weight)
    assert checkpoint.read("parameter").tolist() == [5, 5]


@SAVERS
def test_tied_transposed_and_sliced_tensors(tmp_path: Path, save: Saver) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    expected = {"a": base, "tied": base, "transposed": base.T, "row": base[1], "empty": base[:0]}
    save(expected, tmp_path / "model.bin")
    assert_same(open_checkpoint(tmp_path / "model.bin"), expected)


@SAVERS
def test_a_bare_tensor_is_called_tensor(tmp_path: Path, save: Saver) -> None:
    save(torch.arange(3), tmp_path / "voice.pt")
    checkpoint = open_checkpoint(tmp_path / "voice.pt")
    assert list(checkpoint) == ["tensor"]
    assert checkpoint.read("tensor").tolist() == [0, 1, 2]


def test_storages_from_a_gpu_are_read_on_the_cpu(tmp_path: Path) -> None:
    values = {"0": struct.pack("<2f", 1, 2)}
    for write, old in ((make.torch_zip, False), (make.torch_old, True)):
        tree = {"a": make.tensor(make.storage("0", 2, location="cuda:0", old=old), (2,))}
        content = write(tree, values)
        assert open_checkpoint(make.write(tmp_path / "gpu.pt", content)).read("a").tolist() == [1, 2]


def test_zip_with_64_bit_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)  # as in files beyond 4 GB
    content = make.torch_zip({"a": make.tensor(make.storage("0", 64), (64,))}, {"0": bytes(range(256))})
    assert b"PK\6\6" in content
    checkpoint = open_checkpoint(make.write(tmp_path / "large.pt", content))
    np.testing.assert_array_equal(checkpoint.read("a").view(np.uint8), np.arange(256))


class Inner(torch.nn.Module):
    running: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(2, 3))
        self.register_buffer("running", torch.arange(3))
        self.register_parameter("bias", None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight.T + self.running.sum()


class Scripted(torch.nn.Module):
    sizes: list[int]

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(Inner(), torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
        self.shared = self.layers[0]
        self.scale = torch.nn.Parameter(torch.randn(2).to(torch.bfloat16))
        self.plain = torch.ones(5)  # an attribute, neither parameter nor buffer: not in the state dict
        self.sizes = [1, 2]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers.forward(x) + self.plain.sum() * self.scale.sum() * self.sizes[0]


@pytest.mark.parametrize("how", ["scripted", "traced"])
def test_torchscript_has_the_names_and_values_of_its_state_dict(tmp_path: Path, how: str) -> None:
    module = Scripted().eval()
    script = torch.jit.script(module) if how == "scripted" else torch.jit.trace(module, torch.ones(4, 3))
    torch.jit.save(script, tmp_path / "model.jit")
    expected = torch.jit.load(tmp_path / "model.jit").state_dict()
    checkpoint = open_checkpoint(tmp_path / "model.jit")
    assert checkpoint.format == "torchscript"
    assert list(checkpoint) == list(expected)
    assert "shared.weight" in checkpoint
    assert_same(checkpoint, expected)


def test_quantized_torchscript_is_refused_by_name(tmp_path: Path) -> None:
    code = "class M(Module):\n  __parameters__ = []\n  __buffers__ = []\n  p : __torch__.torch.classes.Q\n"
    packed = make.Build(make.Call("__torch__.torch.classes.Q", (), b"\x81"), (1, 2))
    tree = make.Build(make.Call("__torch__.M", (), b"\x81"), {"p": packed})
    path = make.write(tmp_path / "model.jit", make.torchscript(tree, {}, code))
    with pytest.raises(CheckpointError, match=r"torch\.classes\.Q.*packed"):
        open_checkpoint(path)


UNREADABLE = {
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
    "quantized by channel": lambda: torch.quantize_per_channel(
        torch.ones(2, 2), torch.ones(2), torch.zeros(2), 0, torch.qint8
    ),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "sparse csr": lambda: torch.eye(3).to_sparse_csr(),
    "meta": lambda: torch.empty(2, device="meta"),
    "conjugated": lambda: torch.ones(2, dtype=torch.complex64).conj(),
}


@SAVERS
@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_tensor_that_cannot_be_converted_is_named(tmp_path: Path, kind: str, save: Saver) -> None:
    save({"fine": torch.ones(1), "layer": {"odd": UNREADABLE[kind]()}}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=rf"model\.pt: tensor 'layer\.odd' .*{kind.split()[0]}"):
        open_checkpoint(tmp_path / "model.pt")


@pytest.mark.parametrize("suffix", ["safetensors", "zip", "old"])
def test_sharded(tmp_path: Path, suffix: str) -> None:
    savers = {"safetensors": save_torch_file, "zip": save_zip, "old": save_old}
    expected = {f"layers.{i}.weight": torch.full((2, 2), float(i)) for i in range(4)}
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    ending = "safetensors" if suffix == "safetensors" else "bin"
    weight_map = {name: f"{stem}-{1 + i % 2:05}-of-00002.{ending}" for i, name in enumerate(expected)}
    for shard in set(weight_map.values()):
        part = {name: tensor for name, tensor in expected.items() if weight_map[name] == shard}
        savers[suffix](part, tmp_path / shard)
    index = tmp_path / f"{stem}.{ending}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 64}, "weight_map": weight_map}))
    for path in (index, tmp_path):
        checkpoint = open_checkpoint(path)
        assert_same(checkpoint, expected)
        assert list(checkpoint) == list(weight_map)
        assert checkpoint.path == index
        assert {file.name for file in checkpoint.files} == {index.name, *weight_map.values()}
        assert checkpoint.metadata == {"total_size": "64"}


@pytest.mark.parametrize(
    ("held", "opened"),
    [
        (["model.safetensors", "other.safetensors"], "model.safetensors"),
        (["pytorch_model.bin", "training_args.bin"], "pytorch_model.bin"),
        (["ve.safetensors", "README.md", "config.json"], "ve.safetensors"),
    ],
)
def test_the_weights_of_a_folder(tmp_path: Path, held: list[str], opened: str) -> None:
    for name in held:
        if name.endswith(".safetensors"):
            save_file({"a": np.ones(2)}, tmp_path / name)
        else:
            torch.save({"a": torch.ones(2)}, tmp_path / name)
    assert open_checkpoint(tmp_path).path == tmp_path / opened


@pytest.mark.parametrize(("held", "message"), [([], "no checkpoint"), (["a.pt", "b.pth"], "'a.pt', 'b.pth'")])
def test_a_folder_with_no_or_several_checkpoints(tmp_path: Path, held: list[str], message: str) -> None:
    for name in held:
        torch.save({"a": torch.ones(2)}, tmp_path / name)
    with pytest.raises(SourceError, match=message):
        open_checkpoint(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"absent\.pt"):
        open_checkpoint(tmp_path / "absent.pt")


def onnx_model(initialisers: list[onnx.TensorProto], nodes: list[onnx.NodeProto] | None = None) -> onnx.ModelProto:
    graph = onnx.helper.make_graph(nodes or [], "g", [], [], initialisers)
    return onnx.helper.make_model(graph)


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
def test_onnx_of_every_type(tmp_path: Path, raw: bool) -> None:
    names = ["float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "complex64", "bool"]
    names += [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
    dtypes = {name: np.dtype(getattr(ml_dtypes, name, name)) for name in names}
    expected = {name: np.array([[0, 1, 2], [3, 2, 1]]).astype(dtype) for name, dtype in dtypes.items()}
    protos = []
    for name, array in expected.items():
        proto = onnx.numpy_helper.from_array(array, name)
        if not raw:
            values = array.ravel() if array.dtype.isbuiltin == 1 else array.ravel().astype(np.float32)
            proto = onnx.helper.make_tensor(name, proto.data_type, array.shape, values)
        assert proto.HasField("raw_data") == raw
        protos.append(proto)
    model = onnx_model(protos)
    model.metadata_props.add(key="author", value="me")
    onnx.save(model, tmp_path / "model.onnx")
    checkpoint = open_checkpoint(tmp_path / "model.onnx")
    assert (checkpoint.format, checkpoint.metadata) == ("onnx", {"author": "me"})
    assert list(checkpoint) == names
    for name, array in expected.items():
        read = checkpoint.read(name)
        assert (read.dtype, checkpoint.info(name).dtype) == (array.dtype, name)
        np.testing.assert_array_equal(read, array)
        assert not read.flags.writeable


def test_onnx_subgraphs_and_external_data(tmp_path: Path) -> None:
    inner = onnx.numpy_helper.from_array(np.arange(3.0), "inner")
    branch = onnx.helper.make_graph([], "then", [], [], [inner])
    node = onnx.helper.make_node("If", ["c"], ["o"], then_branch=branch, else_branch=branch.__class__(name="e"))
    outer = onnx.numpy_helper.from_array(np.arange(1000, dtype=np.float32), "outer")
    onnx.save(onnx_model([outer], [node]), tmp_path / "m.onnx", save_as_external_data=True, location="m.data")
    checkpoint = open_checkpoint(tmp_path / "m.onnx")
    assert set(checkpoint) == {"outer", "inner"}
    np.testing.assert_array_equal(checkpoint.read("outer"), np.arange(1000))
    assert not checkpoint.read("outer").flags.owndata
    assert checkpoint.info("outer").file == tmp_path / "m.data"
    assert checkpoint.files == (tmp_path / "m.onnx", tmp_path / "m.data")


@pytest.mark.parametrize("save", [save_zip, save_old], ids=["zip", "old"])
@pytest.mark.parametrize("version", ["2.9.1", "1.13.0+cpu", None])
def test_pickles_need_a_sound_torch(
    tmp_path: Path, save: Saver, version: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.metadata

    def installed(name: str) -> str:
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    save({"a": torch.ones(1)}, tmp_path / "model.pt")
    monkeypatch.setattr(importlib.metadata, "version", installed)
    with pytest.raises(MissingDependencyError, match=r"model\.pt.*2\.10.*python -m pytorch_to_mlx\.environments torch"):
        open_checkpoint(tmp_path / "model.pt")


def test_onnx_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(onnx_model([onnx.numpy_helper.from_array(np.ones(2), "a")]), tmp_path / "m.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependencyError, match="pip install onnx"):
        open_checkpoint(tmp_path / "m.onnx")


def test_opening_four_gigabytes_reads_none_of_them(tmp_path: Path) -> None:
    size = 4 * 2**30
    text = json.dumps({"large": make.entry("F32", [size // 4], 0, size)}).encode()
    path = make.write(tmp_path / "large.safetensors", make.safetensors_bytes(text))
    with path.open("r+b") as file:
        file.truncate(8 + len(text) + size)  # a hole: it takes no room on the disk
    (outcome,) = measure([path])
    assert outcome.error is None
    assert outcome.python_bytes < 50e6
    assert outcome.process_bytes < 50e6
    assert open_checkpoint(path).read("large")[-1] == 0


@SAVERS
def test_opening_a_large_pickle_reads_none_of_it(tmp_path: Path, save: Saver) -> None:
    save({"large": torch.zeros(40_000_000)}, tmp_path / "large.pt")
    (outcome,) = measure([tmp_path / "large.pt"])
    assert outcome.error is None
    assert outcome.python_bytes < 50e6
    assert outcome.process_bytes < 50e6
