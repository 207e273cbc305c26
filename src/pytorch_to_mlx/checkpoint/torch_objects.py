"""What a checkpoint's pickle may hold: tensors, as references into the file, containers, inert values."""

import math
import mmap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pytorch_to_mlx.checkpoint.pickle_machine import Global, Items, Opaque, checked_key
from pytorch_to_mlx.checkpoint.tensors import DTYPES, LazyTensor, TensorInfo, numpy_dtype
from pytorch_to_mlx.errors import CheckpointError, UnsafeFileError

MAX_DEPTH = 64
MAX_TENSORS = 200_000

# Element types of torch's storage and (legacy) tensor classes: torch.FloatStorage, torch.cuda.FloatTensor.
CLASSES = {
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16",
    "Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool",
    "ComplexFloat": "complex64", "ComplexDouble": "complex128",
    "QInt8": "qint8", "QUInt8": "quint8", "QInt32": "qint32", "QUInt4x2": "quint4x2", "QUInt2x4": "quint2x4",
}  # fmt: skip
# Recognised so that the error can name the tensor, and the storage's size be checked.
_UNSUPPORTED_DTYPES = (
    ["qint8", "quint8", "qint32", "quint4x2", "quint2x4", "complex32", "float4_e2m1fn_x2"]
    + ["bits8", "bits16", "bits1x8", "bits2x4", "bits4x2"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in range(1, 8)]
)
_UNSUPPORTED_ITEM_BYTES = {"qint32": 4, "complex32": 4, "bits16": 2}
_QUANTIZATION_SCHEMES = (
    *("per_tensor_affine", "per_tensor_symmetric", "per_channel_affine", "per_channel_symmetric"),
    "per_channel_affine_float_qparams",
)
_CANNOT = "is {}, which cannot be converted; save the checkpoint with plain dense tensors on the CPU"
_REFUSED_REBUILDS = {
    "qtensor": "quantized",
    "sparse_tensor": "sparse",
    "sparse_csr_tensor": "sparse",
    "nested_tensor": "nested",
    "meta_tensor_no_storage": "a meta tensor without values",
    "wrapper_subclass": "a tensor subclass",
    "device_tensor_from_numpy": "on a device that torch alone can read",
    "device_tensor_from_cpu_tensor": "on a device that torch alone can read",
}


def item_bytes(dtype: str) -> int:
    """Size of one element in bytes, of unsupported types too."""
    return DTYPES[dtype].itemsize if dtype in DTYPES else _UNSUPPORTED_ITEM_BYTES.get(dtype, 1)


class NamedType(Global):
    """A dtype, a storage class or a tensor class: a name with an element type, never called."""

    __slots__ = ("dtype",)

    def __init__(self, name: str, dtype: str) -> None:
        super().__init__(name, None)
        self.dtype = dtype


@dataclass(frozen=True)
class StorageRef:
    """A run of elements in the file; `offset` counts elements from the start of the storage called `key`."""

    key: str
    dtype: str
    elements: int
    offset: int = 0


@dataclass(frozen=True)
class TensorRef:
    """A strided view of a storage. `offset` and `stride` count elements."""

    storage: StorageRef
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class Refused:
    """A tensor that cannot be read, and why; it becomes an error once its name is known."""

    reason: str


class TorchObjects:
    """The constructors that one pickle may use, and a record of what it made with them.

    Args:
        file_bytes: size of the file: no tensor may be larger.
    """

    def __init__(self, file_bytes: int) -> None:
        self.file_bytes = file_bytes
        self.storages: set[StorageRef] = set()
        self.refused: list[Refused] = []
        self._globals = dict(_TYPES)
        for name, build in {
            "collections.OrderedDict": _items,
            "collections.Counter": _items,
            "torch.Size": _size,
            "torch.device": _inert,
            "torch.serialization._get_layout": _inert,
            "builtins.complex": _inert,
            "builtins.set": _set,
            "builtins.bytearray": _bytes,
            "_codecs.encode": _bytes,
            "torch.nn.parameter.Parameter": _parameter,
            "torch._utils._rebuild_parameter": _parameter,
            "torch._utils._rebuild_parameter_with_state": _parameter,
            "torch._utils._rebuild_tensor": self._tensor,
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_tensor_v3": self._typed_tensor,
            "torch._tensor._rebuild_from_type_v2": _subclass,
        }.items():
            self._globals[name] = Global(name, build)
        for kind, reason in _REFUSED_REBUILDS.items():
            name = f"torch._utils._rebuild_{kind}"
            self._globals[name] = Global(name, partial(self._refuse, _CANNOT.format(reason)))

    def find(self, name: str) -> Global:
        """The stand-in for a global of the pickle."""
        if name.startswith("__builtin__."):  # Python 2
            name = name.replace("__builtin__", "builtins", 1)
        if name not in self._globals:
            raise UnsafeFileError(
                f"the pickle names {name!r}, which is neither a tensor nor plain data and could run code; "
                "ask its author for a safetensors file or a plain state dict"
            )
        return self._globals[name]

    def persistent(self, saved: object) -> StorageRef:
        """The storage of all but tar: ("storage", type, key, location, elements[, view])."""
        if not isinstance(saved, tuple) or len(saved) not in (5, 6) or saved[0] != "storage":
            raise UnsafeFileError("the pickle holds a persistent id that is not a storage")
        _, kind, key, _, elements, *view = saved
        storage = self.storage(kind, key, elements)
        if view and view[0] is not None:
            _, offset, elements = view[0]
            storage = StorageRef(storage.key, storage.dtype, count(elements), count(offset))
            self.storages.add(storage)
        return storage

    def storage(self, kind: object, key: object, elements: object) -> StorageRef:
        if not isinstance(kind, NamedType) or not isinstance(key, str):
            raise CheckpointError("the pickle describes a storage without type or key")
        storage = StorageRef(key, kind.dtype, count(elements))
        self.storages.add(storage)
        return storage

    def tensor(
        self, storage: StorageRef, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]
    ) -> TensorRef | Refused:
        """A reference to a tensor that lies inside its storage, else a refusal."""
        if len(shape) != len(stride):
            return self._refuse("has unequal numbers of sizes and strides")
        elements = math.prod(map(count, shape))
        last = count(offset) + sum((size - 1) * count(step) for size, step in zip(shape, stride, strict=True))
        if elements and last >= storage.elements:
            return self._refuse("reaches beyond its storage")
        if elements * item_bytes(storage.dtype) > self.file_bytes:
            return self._refuse("claims to be larger than the file that holds it")
        return TensorRef(storage, offset, shape, stride)

    def _tensor(self, storage: object, offset: Any, shape: object, stride: object, *rest: object) -> Any:
        if not isinstance(storage, StorageRef) or not isinstance(shape, tuple) or not isinstance(stride, tuple):
            raise CheckpointError("the pickle describes a tensor without storage, shape or stride")
        metadata = rest[2] if len(rest) > 2 else None
        if isinstance(metadata, dict) and any(metadata.values()):
            return self._refuse(_CANNOT.format("lazily conjugated or negated"))
        return self.tensor(storage, offset, shape, stride)

    def _typed_tensor(self, storage: object, *rest: Any) -> Any:
        """A tensor whose element type its untyped storage does not tell (float8, uint16, ...)."""
        offset, shape, stride, gradient, hooks, kind, *metadata = rest
        if not isinstance(storage, StorageRef) or not isinstance(kind, NamedType):
            raise CheckpointError("the pickle describes a tensor without storage or dtype")
        ratio = item_bytes(kind.dtype) // item_bytes(storage.dtype)
        typed = StorageRef(storage.key, kind.dtype, storage.elements // ratio, storage.offset // ratio)
        return self._tensor(typed, offset, shape, stride, gradient, hooks, *metadata)

    def _refuse(self, reason: str, *_: object) -> Refused:
        refused = Refused(reason)
        self.refused.append(refused)
        return refused


def count(value: object) -> int:
    """A size of the pickle: an integer that is not negative."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise CheckpointError("the pickle describes a tensor with a size that is not one")
    return value


def _types() -> Iterator[Global]:
    for kind, dtype in CLASSES.items():
        for module in ("torch", "torch.cuda"):
            yield NamedType(f"{module}.{kind}Storage", dtype)
            yield NamedType(f"{module}.{kind}Tensor", dtype)
    yield NamedType("torch.storage.UntypedStorage", "uint8")
    for name in ("Tensor", *_QUANTIZATION_SCHEMES):
        yield Global(f"torch.{name}", None)
    for dtype in [*DTYPES, *_UNSUPPORTED_DTYPES]:
        yield NamedType(f"torch.{dtype}", dtype)


_TYPES: Mapping[str, Global] = {kind.name: kind for kind in _types()}


def _parameter(data: object, *_: object) -> object:
    if not isinstance(data, (TensorRef, Refused)):
        raise CheckpointError("the pickle describes a parameter without a tensor")
    return data


def _subclass(rebuild: object, _type: object, args: object, _state: object) -> Any:
    if not isinstance(rebuild, Global):
        raise UnsafeFileError("the pickle rebuilds a tensor with something that is not a constructor")
    return rebuild(args)


def _items(pairs: Any = ()) -> Items:
    found = Items()
    for key, value in pairs.items() if isinstance(pairs, dict) else pairs:
        found[checked_key(key)] = value
    return found


def _size(sizes: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(map(count, sizes))


def _inert(*_: object) -> Opaque:
    return Opaque()


def _set(values: Any = ()) -> Opaque:
    for value in values:
        checked_key(value)
    return Opaque()


def _bytes(value: object = "", encoding: object = "latin1") -> Opaque:
    if not isinstance(value, (str, Opaque)) or encoding not in ("latin1", "latin-1"):
        raise CheckpointError("the pickle makes bytes of something that is not text in Latin-1")
    return Opaque()


def flatten(tree: object, is_tensor: Callable[[object], bool]) -> dict[str, Any]:
    """The tensors of nested containers under dotted names; a tree that is one tensor is called "tensor".

    Raises:
        CheckpointError: nested too deep, too many tensors, or two of them end up under one name.
    """
    found: dict[str, Any] = {}
    barren: set[int] = set()  # containers without tensors: shared ones are walked once, however often they occur

    def visit(path: tuple[str, ...], value: object) -> bool:
        """Whether there is a tensor in `value`."""
        if is_tensor(value):
            name = ".".join(path) or "tensor"
            if name in found:
                raise CheckpointError(f"two tensors are called {name!r}")
            if len(found) == MAX_TENSORS:
                raise CheckpointError(f"names more than {MAX_TENSORS} tensors")
            found[name] = value
            return True
        if not isinstance(value, (dict, list, tuple)) or id(value) in barren:
            return False
        if len(path) == MAX_DEPTH:
            raise CheckpointError(f"nests deeper than {MAX_DEPTH} levels")
        # dict.items, because a pickle may have set an attribute `items` on torch's OrderedDict
        items = dict.items(value) if isinstance(value, dict) else enumerate(value)
        held = [visit((*path, str(key)), item) for key, item in items]
        if not any(held):
            barren.add(id(value))
        return any(held)

    visit((), tree)
    return found


def tensor_refs(tree: object) -> dict[str, TensorRef]:
    """The tensors of an unpickled tree by dotted name.

    Raises:
        CheckpointError: names a tensor that cannot be converted: quantized, sparse, meta, ...
    """
    found = flatten(tree, lambda value: isinstance(value, (TensorRef, Refused)))
    for name, value in found.items():
        if isinstance(value, Refused):
            raise CheckpointError(f"tensor {name!r} {value.reason}")
    return found


def lazy_tensors(
    refs: Mapping[str, TensorRef],
    objects: TorchObjects,
    places: Mapping[str, range],
    buffer: mmap.mmap,
    path: Path,
) -> dict[str, LazyTensor]:
    """Views into the mapped file, after checking that every storage is there, and as large as it says.

    Args:
        refs: the tensors by name.
        objects: made the tensors; knows their storages.
        places: storage key -> its bytes in the file.
        buffer: the mapped file.
        path: the file, to be named in each tensor's description.
    """
    for storage in objects.storages:
        held = len(places.get(storage.key, ()))
        if storage.key not in places or (storage.offset + storage.elements) * item_bytes(storage.dtype) > held:
            raise CheckpointError(f"storage {storage.key!r} is missing or too short; fetch the file again")
    tensors = {}
    for name, ref in refs.items():
        dtype = numpy_dtype(ref.storage.dtype, name)
        begin = places[ref.storage.key].start + (ref.storage.offset + ref.offset) * dtype.itemsize
        strides = tuple(
            step * dtype.itemsize if size > 1 else 0 for size, step in zip(ref.shape, ref.stride, strict=True)
        )
        if 0 in ref.shape:  # nothing to point at: offset and strides mean nothing
            begin, strides = 0, None
        view = np.ndarray(ref.shape, dtype, buffer, begin, strides)
        info = TensorInfo(name, ref.storage.dtype, ref.shape, path)
        tensors[name] = LazyTensor(info, lambda view=view: view)
    return tensors
