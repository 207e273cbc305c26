"""Checkpoint files made by hand, well-formed or not: pickles by opcode, zip and tar archives, safetensors by byte."""

import json
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

LITTLE_ENDIAN = {"little_endian": True, "protocol_version": 1001}
STORAGES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "int64": "LongStorage",
    "uint8": "ByteStorage",
}


@dataclass(frozen=True)
class Name:
    """A global: `Name("os.system")`."""

    path: str


@dataclass(frozen=True)
class Call:
    """A global or any other pickled thing, called with arguments (REDUCE, or NEWOBJ)."""

    function: Any
    args: Any
    opcode: bytes = b"R"


@dataclass(frozen=True)
class Build:
    target: Any
    state: Any


@dataclass(frozen=True)
class Persistent:
    saved: Any


@dataclass(frozen=True)
class Raw:
    """Opcodes as they are, leaving one value on the stack."""

    opcodes: bytes


def pickled(value: Any) -> bytes:
    """One pickle of protocol 2, without the memo."""
    return b"\x80\x02" + _opcodes(value) + b"."


def _opcodes(value: Any) -> bytes:
    match value:
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(data)]) + data
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case tuple():
            return b"(" + b"".join(map(_opcodes, value)) + b"t"
        case list():
            return b"](" + b"".join(map(_opcodes, value)) + b"e"
        case dict():
            return b"}(" + b"".join(_opcodes(key) + _opcodes(item) for key, item in value.items()) + b"u"
        case Name(path):
            module, _, name = path.rpartition(".")
            return f"c{module}\n{name}\n".encode()
        case Call(function, args, opcode):
            called = Name(function) if isinstance(function, str) else function
            return _opcodes(called) + _opcodes(args) + opcode
        case Build(target, state):
            return _opcodes(target) + _opcodes(state) + b"b"
        case Persistent(saved):
            return _opcodes(saved) + b"Q"
        case Raw(opcodes):
            return opcodes
    raise TypeError(type(value).__name__)


def storage(key: str, elements: int, *, location: str = "cpu", old: bool = False) -> Persistent:
    """A storage of float32 as zip and TorchScript pickles refer to it, or as old ones do."""
    saved = ("storage", Name("torch.FloatStorage"), key, location, elements)
    return Persistent((*saved, None) if old else saved)


def tensor(stored: Any, shape: tuple[int, ...], stride: tuple[int, ...] | None = None, offset: int = 0) -> Call:
    """A tensor over a storage; contiguous unless strides are given."""
    if stride is None:
        stride = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
    hooks = Call("collections.OrderedDict", ())
    return Call("torch._utils._rebuild_tensor_v2", (stored, offset, shape, stride, False, hooks))


def zip_bytes(entries: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


def torch_zip(tree: Any, storages: Mapping[str, bytes], **options: Any) -> bytes:
    """What `torch.save` writes today."""
    entries = {"archive/data.pkl": pickled(tree), "archive/byteorder": b"little"}
    entries |= {f"archive/data/{key}": content for key, content in storages.items()}
    return zip_bytes(entries | {"archive/version": b"3\n"}, **options)


def torchscript(tree: Any, storages: Mapping[str, bytes], code: str) -> bytes:
    """What `torch.jit.save` writes, its classes in one file."""
    entries = {"archive/data.pkl": pickled(tree), "archive/constants.pkl": pickled(())}
    entries |= {f"archive/data/{key}": content for key, content in storages.items()}
    return zip_bytes(entries | {"archive/code/__torch__.py": code.encode(), "archive/version": b"3\n"})


def torch_old(tree: Any, storages: Mapping[str, bytes], item_bytes: int = 4) -> bytes:
    """What `torch.save` wrote before 1.6."""
    parts = [pickled(0x1950A86A20F9469CFC6C), pickled(1001), pickled(LITTLE_ENDIAN), pickled(tree)]
    parts.append(pickled(list(storages)))
    parts += [struct.pack("<q", len(content) // item_bytes) + content for content in storages.values()]
    return b"".join(parts)


def tar_bytes(members: Mapping[str, bytes]) -> bytes:
    file = BytesIO()
    with tarfile.open(fileobj=file, mode="w:", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1483228800.5  # half a second makes an extended header
            archive.addfile(info, BytesIO(content))
    return file.getvalue()


def tar_tables(arrays: Mapping[int, np.ndarray], views: Any = ()) -> dict[str, bytes]:
    """The members `storages` and `tensors` of torch before 0.1.10: tensor 100 + key lies over storage `key`."""
    storages = [pickled(len(arrays))]
    tensors = [pickled(len(arrays))]
    for key, array in arrays.items():
        kind = STORAGES[array.dtype.name]
        storages.append(pickled((key, "cpu", Name(f"torch.{kind}"))))
        storages.append(struct.pack("<q", array.size) + array.tobytes())
        tensors.append(pickled((100 + key, key, Name(f"torch.{kind.replace('Storage', 'Tensor')}"))))
        sizes = [*array.shape, *(step // array.itemsize for step in array.strides)]
        tensors.append(struct.pack(f"<ii{len(sizes)}qq", array.ndim, 0, *sizes, 0))
    storages.append(pickled(list(views)))
    return {"storages": b"".join(storages), "tensors": b"".join(tensors)}


def torch_tar(tree: Any, tables: Mapping[str, bytes]) -> bytes:
    return tar_bytes({"sys_info": pickled(LITTLE_ENDIAN), "pickle": pickled(tree), **tables})


def entry(dtype: str, shape: list[Any], begin: Any, end: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def safetensors_bytes(header: Any, data: bytes = b"", declared: int | None = None) -> bytes:
    """A safetensors file of any header (JSON, or bytes as they are), which may lie about its length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if declared is None else declared) + text + data


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
