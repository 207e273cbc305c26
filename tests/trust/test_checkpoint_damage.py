"""Damaged zip, tar, TorchScript and ONNX files, and every format cut short or with flipped bytes: typed errors only."""

import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkpoint_files as make
import numpy as np
import onnx
import pytest
import torch
from checkpoint_files import Call, Persistent
from checkpoint_meter import measure
from safetensors.torch import save as save_safetensors

from pytorch_to_mlx.checkpoint import open_checkpoint
from pytorch_to_mlx.errors import CheckpointError

TREE = {"layer": {"weight": make.tensor(make.storage("0", 4), (2, 2)), "bias": make.tensor(make.storage("1", 2), (2,))}}
STORAGES = {"0": struct.pack("<4f", 1, 2, 3, 4), "1": struct.pack("<2f", 5, 6)}
ARRAYS = {1: np.arange(4, dtype=np.float32).reshape(2, 2), 2: np.arange(3, dtype=np.int64)}
CODE = 'class M(Module):\n  __parameters__ = ["weight", ]\n  __buffers__ = []\n  weight : Tensor\n'


def read_all(path: Path) -> dict[str, np.ndarray]:
    with open_checkpoint(path) as checkpoint:
        return {name: checkpoint.read(name) for name in checkpoint}


def a_zip() -> bytes:
    return make.torch_zip(TREE, STORAGES)


def a_tar() -> bytes:
    views = [(9, 1, 2, 2)]  # storage 9: two elements of storage 1, from the third on
    tables = make.tar_tables(ARRAYS, views)
    return make.torch_tar({"a": Persistent("101"), "b": Persistent("102")}, tables)


def a_script(code: str = CODE) -> bytes:
    state = {"weight": TREE["layer"]["weight"], "training": True}
    return make.torchscript(make.Build(Call("__torch__.M", (), b"\x81"), state), {"0": STORAGES["0"]}, code)


def an_onnx() -> bytes:
    protos = [onnx.numpy_helper.from_array(array, f"t{key}") for key, array in ARRAYS.items()]
    return onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], protos)).SerializeToString()


def a_safetensors() -> bytes:
    return save_safetensors({"a": torch.ones(2, 2), "b": torch.arange(3)}, {"format": "pt"})


def an_old() -> bytes:
    tree: Any = {"layer": {"weight": make.tensor(make.storage("0", 4, old=True), (2, 2))}}
    return make.torch_old(tree, {"0": STORAGES["0"]})


SOUND: dict[str, Callable[[], bytes]] = {
    "zip.pt": a_zip,
    "old.pt": an_old,
    "tar.pt": a_tar,
    "script.jit": a_script,
    "model.onnx": an_onnx,
    "model.safetensors": a_safetensors,
}


def test_a_tar_archive_is_read_as_torch_reads_it(tmp_path: Path) -> None:
    path = make.write(tmp_path / "tar.pt", a_tar())
    expected = torch.load(path, weights_only=False)  # our own file
    checkpoint = open_checkpoint(path)
    assert checkpoint.format == "torch-tar"
    assert list(checkpoint) == list(expected) == ["a", "b"]
    for (name, tensor), array in zip(expected.items(), ARRAYS.values(), strict=True):
        read = checkpoint.read(name)
        assert read.dtype == array.dtype
        np.testing.assert_array_equal(read, tensor.numpy())
        np.testing.assert_array_equal(read, array)
        assert not read.flags.writeable
        assert not read.flags.owndata


def test_a_tar_archive_with_a_view_and_a_tensor_over_it(tmp_path: Path) -> None:
    tables = make.tar_tables({1: ARRAYS[1]}, [(9, 1, 2, 2)])
    over_view = make.pickled((109, 9, make.Name("torch.FloatTensor"))) + struct.pack("<ii3q", 1, 0, 2, 1, 0)
    tables["tensors"] = make.pickled(1) + over_view
    path = make.write(tmp_path / "tar.pt", make.torch_tar({"a": Persistent(109)}, tables))
    np.testing.assert_array_equal(torch.load(path, weights_only=False)["a"].numpy(), [2, 3])
    assert open_checkpoint(path).read("a").tolist() == [2, 3]


def replaced(content: bytes, old: bytes, new: bytes) -> bytes:
    assert len(old) == len(new)
    assert old in content
    return content.replace(old, new)


def end_of_directory(content: bytes, **changes: int) -> bytes:
    """The zip file with other values in its end record."""
    names = ["disk", "first_disk", "here", "entries", "size", "offset", "comment"]
    end = content.rindex(b"PK\5\6")
    values = dict(zip(names, struct.unpack("<4H2LH", content[end + 4 :]), strict=True))
    return content[: end + 4] + struct.pack("<4H2LH", *(values | changes).values())


def directory_entry(content: bytes, name: bytes, position: int, value: bytes) -> bytes:
    """The zip file with other bytes in the directory's record of one entry."""
    record = content.rindex(name) - 46
    assert content[record : record + 4] == b"PK\1\2"
    return content[: record + position] + value + content[record + position + len(value) :]


def long(value: int) -> bytes:
    return struct.pack("<L", value)


def twice(tree: bytes) -> bytes:
    """Two entries of one name: a reader may take either."""
    with pytest.warns(UserWarning, match="Duplicate name"):
        content = make.zip_bytes(
            {"archive/data.pkl": tree, "archive/data.pk1": make.pickled(Call("os.system", ("x",)))}
        )
        with zipfile.ZipFile(make.BytesIO(), "w") as archive:
            archive.writestr("a", b"")
            archive.writestr("a", b"")
    return content.replace(b"data.pk1", b"data.pkl")


DAMAGED: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "zip compressed": ("a.pt", lambda: make.torch_zip(TREE, STORAGES, method=zipfile.ZIP_DEFLATED), "compressed"),
    "zip bomb": ("a.pt", lambda: make.torch_zip(TREE, {"0": bytes(10**8)}, method=zipfile.ZIP_DEFLATED), "compressed"),
    "zip without directory": ("a.pt", lambda: a_zip()[:-30], "no directory"),
    "zip with text behind it": ("a.pt", lambda: a_zip() + b"text", "does not end"),
    "zip with a directory of 4 GB": ("a.pt", lambda: end_of_directory(a_zip(), size=2**32 - 1), "directory"),
    "zip with a directory elsewhere": ("a.pt", lambda: end_of_directory(a_zip(), offset=0), "directory"),
    "zip with too many entries": ("a.pt", lambda: end_of_directory(a_zip(), entries=60_000), "truncated"),
    "zip with too few entries": ("a.pt", lambda: end_of_directory(a_zip(), entries=1), "more than it says"),
    "zip over several disks": ("a.pt", lambda: end_of_directory(a_zip(), disk=1), "does not end"),
    "zip with a name twice": ("a.pt", lambda: twice(make.pickled({})), "twice"),
    "zip encrypted": ("a.pt", lambda: directory_entry(a_zip(), b"archive/data.pkl", 8, b"\1\0"), "encrypted"),
    "zip entry beyond the file": (
        "a.pt", lambda: directory_entry(a_zip(), b"archive/data/0", 42, long(2**31)), "outside"
    ),
    "zip entry longer than the file": (
        "a.pt", lambda: directory_entry(a_zip(), b"archive/data/0", 20, long(2**31) * 2), "overlap"
    ),
    "zip entry shorter than its storage": (
        "a.pt", lambda: make.torch_zip(TREE, STORAGES | {"0": b"\0" * 15}), "'0' is missing or too short"
    ),
    "zip entry that is not one": (
        "a.pt", lambda: directory_entry(a_zip(), b"archive/data/0", 42, long(5)), "not an entry"
    ),
    "zip without a pickle": ("a.pt", lambda: make.zip_bytes({"archive/version": b"3"}), "did not write"),
    "zip with two pickles": ("a.pt", lambda: make.zip_bytes({"a/data.pkl": b"", "b/data.pkl": b""}), "did not write"),
    "zip without a storage": ("a.pt", lambda: make.torch_zip(TREE, {"0": STORAGES["0"]}), "'archive/data/1'"),
    "zip written on a big-endian machine": (
        "a.pt", lambda: make.zip_bytes({"a/data.pkl": make.pickled({}), "a/byteorder": b"big"}), "big-endian"
    ),
    "two tensors of one name": (
        "a.pt", lambda: make.torch_zip(TREE | {"layer.bias": TREE["layer"]["bias"]}, STORAGES), "'layer.bias'"
    ),
    "tensor beyond its storage": (
        "a.pt", lambda: make.torch_zip({"w": make.tensor(make.storage("0", 4), (2, 3))}, STORAGES), "'w' reaches beyond"
    ),
    "tensor beyond its storage by its offset": (
        "a.pt", lambda: make.torch_zip({"w": make.tensor(make.storage("0", 4), (1,), offset=4)}, STORAGES), "reaches"
    ),
    "a pickle that torch did not write": ("a.pt", lambda: make.pickled({"a": 1}), "did not write"),
    "old written on a big-endian machine": (
        "a.pt", lambda: replaced(an_old(), b"little_endian\x88", b"little_endian\x89"), "big-endian"
    ),
    "old cut in a storage": ("a.pt", lambda: an_old()[:-1], "truncated"),
    "old with a negative count": ("a.pt", lambda: an_old()[:-24] + struct.pack("<q", -1) + bytes(16), "truncated"),
    "old that lists a storage twice": (
        "a.pt", lambda: an_old().replace(make.pickled(["0"]), make.pickled(["0", "0"])), "list of storages"
    ),
    "tar without a table": ("a.pt", lambda: make.tar_bytes({"pickle": make.pickled({})}), "'storages'"),
    "tar with a member twice": ("a.pt", lambda: make.tar_bytes({"pickle": b"."})[:2048] + a_tar(), "'pickle' twice"),
    "tar with a false check sum": ("a.pt", lambda: replaced(a_tar(), b"tensors\0", b"tensorS\0"), "check sum"),
    "tar with an unknown tensor": (
        "a.pt", lambda: make.torch_tar({"a": Persistent("7")}, make.tar_tables(ARRAYS)), "KeyError: 7"
    ),
    "tar cut short": ("a.pt", lambda: a_tar()[: a_tar().rindex(b"tensors\0") + 600], "truncated"),
    "tensor of 65 dimensions": (
        "a.pt",
        lambda: make.torch_tar({}, make.tar_tables({1: ARRAYS[1]}) | {"tensors": make.pickled(1) + make.pickled(
            (101, 1, make.Name("torch.FloatTensor"))) + struct.pack("<ii", 65, 0)}),
        "65 dimensions",
    ),
    "script without its code": ("a.jit", lambda: a_script("class N(Module):\n"), "does not declare '__torch__.M'"),
    "script whose root is not a module": ("a.jit", lambda: make.torchscript({}, {}, CODE), "does not hold a module"),
    "script without state": (
        "a.jit", lambda: make.torchscript(Call("__torch__.M", (), b"\x81"), {}, CODE), "packed"
    ),
    "onnx without a graph": ("a.onnx", lambda: onnx.ModelProto(ir_version=8).SerializeToString(), "no graph"),
    "onnx of noise": ("a.onnx", lambda: b"\xff" * 100, "DecodeError"),
    "a file of another kind": ("a.bin", lambda: b"GIF89a" + bytes(100), "known format"),
    "a pointer of Git LFS": (
        "a.safetensors", lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n", "git lfs pull"
    ),
    "an empty file": ("a.bin", lambda: b"", "empty"),
    "no tensors": ("a.pt", lambda: make.torch_zip({"epoch": 3}, {}), "no tensors"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_told_in_one_line(name: str, tmp_path: Path) -> None:
    file, content, message = DAMAGED[name]
    with pytest.raises(CheckpointError) as caught:
        read_all(make.write(tmp_path / file, content()))
    assert f"{file}: " in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def initialiser(**fields: Any) -> bytes:
    proto = onnx.TensorProto(name="w", dims=[2], data_type=onnx.TensorProto.FLOAT)
    for name, value in fields.items():
        if isinstance(value, list):
            getattr(proto, name)[:] = value
        else:
            setattr(proto, name, value)
    return onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [proto])).SerializeToString()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "does not hold what its shape"),
        ({"raw_data": b"\0" * 7}, "does not hold what its shape"),
        ({"float_data": [1.0]}, "does not hold what its shape"),
        ({"raw_data": b"\0" * 8, "dims": [2**40]}, "does not hold what its shape"),
        ({"raw_data": b"\0" * 8, "dims": [-2]}, "negative size"),
        ({"data_type": 0}, "dtype undefined"),
        ({"data_type": onnx.TensorProto.STRING}, "dtype string"),
        ({"data_type": onnx.TensorProto.INT4, "raw_data": b"\0"}, "dtype int4"),
        ({"data_type": 999}, "DataType"),
        ({"name": "", "raw_data": b"\0" * 8}, "without a name"),
    ],
)
def test_an_onnx_initialiser_that_lies(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_all(make.write(tmp_path / "m.onnx", initialiser(**fields)))


@pytest.mark.parametrize(
    "entries",
    [{"offset": "4"}, {"offset": "-4"}, {"offset": "x"}, {"length": "7"}, {"length": "-8"}, {"offset": str(2**63)}],
    ids=str,
)
def test_onnx_external_data_that_lies(tmp_path: Path, entries: dict[str, str]) -> None:
    make.write(tmp_path / "w.data", b"\0" * 8)
    model = onnx.ModelProto.FromString(initialiser(data_location=onnx.TensorProto.EXTERNAL))
    for key, value in ({"location": "w.data"} | entries).items():
        model.graph.initializer[0].external_data.add(key=key, value=value)
    with pytest.raises(CheckpointError, match=r"m\.onnx: "):
        read_all(make.write(tmp_path / "m.onnx", model.SerializeToString()))


def test_sparse_and_repeated_onnx_initialisers(tmp_path: Path) -> None:
    model = onnx.ModelProto.FromString(initialiser(raw_data=b"\0" * 8))
    model.graph.initializer.append(model.graph.initializer[0])
    with pytest.raises(CheckpointError, match="called 'w'"):
        read_all(make.write(tmp_path / "m.onnx", model.SerializeToString()))
    model.graph.sparse_initializer.add().values.name = "s"
    with pytest.raises(CheckpointError, match="'s' is sparse"):
        read_all(make.write(tmp_path / "m.onnx", model.SerializeToString()))


def test_code_of_a_script_cannot_inflate_without_end(tmp_path: Path) -> None:
    content = make.BytesIO()
    tree = make.pickled(make.Build(Call("__torch__.M", (), b"\x81"), {}))
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a/data.pkl", tree)
        archive.writestr("a/code/__torch__.py", b"\n" * 2 * 10**8, zipfile.ZIP_DEFLATED)
    (outcome,) = measure([make.write(tmp_path / "m.jit", content.getvalue())])
    assert outcome.error == "CheckpointError"
    assert "more than" in outcome.message
    assert outcome.process_bytes < 50e6


@pytest.mark.parametrize("name", SOUND)
def test_cut_anywhere(tmp_path: Path, name: str) -> None:
    """A file cut short is refused, but for the few bytes at the end of some formats that say nothing of tensors."""
    content = SOUND[name]()
    path = make.write(tmp_path / name, content)
    sound = {key: array.copy() for key, array in read_all(path).items()}
    lengths = random.Random(0).sample(range(len(content)), min(len(content), 200))
    refused = 0
    for length in lengths:
        path.write_bytes(content[:length])
        try:
            read = read_all(path)
        except CheckpointError:
            refused += 1
        else:
            assert name in {"tar.pt", "model.onnx"}
            np.testing.assert_equal(read, sound)
    assert refused > len(lengths) // 4


@pytest.mark.parametrize("name", SOUND)
def test_flipped_bytes(tmp_path: Path, name: str) -> None:
    """A flipped byte is either refused by a typed error or harmless; nothing else, and not all are harmless."""
    content = SOUND[name]()
    path = tmp_path / name
    generator = random.Random(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(generator.randint(1, 3)):
            damaged[generator.randrange(len(content))] = generator.choice([0, 1, 0x2E, 0x7F, 0x80, 0xFF])
        path.write_bytes(damaged)
        try:
            read_all(path)
        except CheckpointError:
            refused += 1
    assert refused > 50
