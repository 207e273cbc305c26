"""ONNX models: the initialisers of the graph and of its subgraphs. Constant nodes are code, not weights.

What torch's exporter made of a parameter (a transposed matrix, a cast bias) it calls `onnx::MatMul_1523`, by a number
that says nothing. Such an initialiser is named by the first node that uses it and which of its inputs it is:
`/blocks.0/attn/query/MatMul:1`.
"""

import math
import mmap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pytorch_to_mlx.checkpoint.files import map_file, member
from pytorch_to_mlx.checkpoint.tensors import Contents, LazyTensor, TensorInfo, numpy_dtype
from pytorch_to_mlx.errors import CheckpointError, MissingDependencyError

if TYPE_CHECKING:
    import onnx

_DTYPES = {"FLOAT": "float32", "DOUBLE": "float64"} | {
    f"FLOAT8{kind.upper()}": f"float8_{kind}" for kind in ("e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz")
}
_DTYPES["FLOAT8E8M0"] = "float8_e8m0fnu"
# The field that holds the elements where they are not raw bytes; all narrow types widen to int32.
_FIELDS = {
    "float32": "float_data", "complex64": "float_data", "float64": "double_data", "complex128": "double_data",
    "int64": "int64_data", "uint64": "uint64_data", "uint32": "uint64_data",
}  # fmt: skip


def read_onnx(path: Path) -> Contents:
    """Open an ONNX model; external data stays on disk until a tensor is read.

    Raises:
        UnsafeFileError: external data lies outside of the model's folder.
        CheckpointError: the model is damaged, or an initialiser cannot be converted.
        MissingDependencyError: the onnx library is not installed.
    """
    try:
        import onnx
    except ModuleNotFoundError:
        raise MissingDependencyError(
            "an ONNX model needs the onnx library; install it with: pip install onnx"
        ) from None
    model = onnx.load_model_from_string(map_file(path)[:])  # onnx.load would read all external data too
    if not model.HasField("graph"):
        raise CheckpointError("not an ONNX model: it has no graph")
    external: dict[str, tuple[Path, mmap.mmap]] = {}
    tensors: dict[str, LazyTensor] = {}
    for name, proto in _initialisers(model.graph):
        if not name or name in tensors:
            raise CheckpointError(f"two initialisers, or one without a name, are called {name!r}")
        kind = onnx.TensorProto.DataType.Name(proto.data_type)
        dtype = _DTYPES.get(kind) or kind.lower()
        numpy_dtype(dtype, name)
        if any(size < 0 for size in proto.dims):
            raise CheckpointError(f"initialiser {name!r} has a negative size")
        info = TensorInfo(name, dtype, tuple(proto.dims), path)
        if proto.data_location == onnx.TensorProto.EXTERNAL:
            tensors[name] = _external(info, proto, external)
        else:
            tensors[name] = LazyTensor(info, _inline(info, proto))
    files = (path, *(file for file, _ in external.values()))
    return Contents("onnx", files, tensors, {entry.key: entry.value for entry in model.metadata_props})


def _initialisers(graph: "onnx.GraphProto") -> Iterator[tuple[str, "onnx.TensorProto"]]:
    """Every initialiser and what it is called."""
    for sparse in graph.sparse_initializer:
        raise CheckpointError(f"initialiser {sparse.values.name!r} is sparse, which cannot be converted")
    uses: dict[str, str] = {}
    for node in graph.node:
        for i, name in enumerate(node.input):
            if node.name and name.startswith("onnx::"):
                uses.setdefault(name, f"{node.name}:{i}")
    yield from ((uses.get(proto.name, proto.name), proto) for proto in graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            for subgraph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _initialisers(subgraph)


def _inline(info: TensorInfo, proto: "onnx.TensorProto") -> Callable[[], np.ndarray]:
    dtype = numpy_dtype(info.dtype, info.name)
    field = "raw_data" if proto.HasField("raw_data") else _FIELDS.get(info.dtype, "int32_data")
    elements = math.prod(info.shape) * (2 if dtype.kind == "c" else 1)
    wanted = info.nbytes if field == "raw_data" else elements
    if proto.HasField("segment") or len(getattr(proto, field)) != wanted:
        raise CheckpointError(f"initialiser {info.name!r} does not hold what its shape {info.shape} asks for")

    def load() -> np.ndarray:
        values = getattr(proto, field)
        if field == "raw_data":
            return np.ndarray(info.shape, dtype, values)
        if field == "int32_data":
            array = np.array(values, np.int32).astype(f"u{dtype.itemsize}").view(dtype)
        else:
            array = np.array(values, dtype.type(0).real.dtype).view(dtype)
        array = array.reshape(info.shape)
        array.flags.writeable = False
        return array

    return load


def _external(info: TensorInfo, proto: "onnx.TensorProto", mapped: dict[str, tuple[Path, mmap.mmap]]) -> LazyTensor:
    """A view of a file beside the model. `mapped` keeps each such file open once."""
    entries = {entry.key: entry.value for entry in proto.external_data}
    location = entries.get("location", "")
    if location not in mapped:
        file = member(info.file.parent, location)
        mapped[location] = (file, map_file(file))
    file, buffer = mapped[location]
    offset = int(entries.get("offset", 0))
    length = int(entries.get("length", info.nbytes))
    if length != info.nbytes or not 0 <= offset <= len(buffer) - length:
        raise CheckpointError(f"initialiser {info.name!r} needs {info.nbytes} bytes, which {location!r} lacks")
    dtype = numpy_dtype(info.dtype, info.name)
    return LazyTensor(
        TensorInfo(info.name, info.dtype, info.shape, file),
        lambda: np.ndarray(info.shape, dtype, buffer, offset),
    )
