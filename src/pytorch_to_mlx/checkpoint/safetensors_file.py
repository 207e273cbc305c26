"""safetensors: checked by the `safetensors` library, then mapped and viewed in place."""

import struct
from pathlib import Path

import numpy as np
from safetensors import safe_open

from pytorch_to_mlx.checkpoint.files import map_file, parse_json
from pytorch_to_mlx.checkpoint.tensors import Contents, LazyTensor, TensorInfo, numpy_dtype
from pytorch_to_mlx.errors import CheckpointError

# 120 bytes a tensor: 140,000 tensors. Nothing is parsed, here or in the library, beyond it.
MAX_HEADER_BYTES = 16 * 2**20

_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
    "F8_E4M3": "float8_e4m3fn", "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2", "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu", "C64": "complex64",
}  # fmt: skip


def read_safetensors(path: Path) -> Contents:
    """Open a `.safetensors` file; tensors are read-only views of the mapped file, aligned or not.

    Raises:
        CheckpointError: the header is damaged, repeats a name, or uses an unknown element type.
    """
    buffer = map_file(path)
    if len(buffer) < 8:
        raise CheckpointError("truncated: shorter than the 8 bytes of a header length; fetch it again")
    (header_bytes,) = struct.unpack_from("<Q", buffer)
    if header_bytes > MAX_HEADER_BYTES:
        raise CheckpointError(f"declares a header of {header_bytes} bytes; {MAX_HEADER_BYTES} are allowed")
    data = 8 + header_bytes
    if data > len(buffer):
        raise CheckpointError(f"truncated: declares a header of {header_bytes} bytes, holds {len(buffer)}")
    if buffer[8:9] != b"{":
        raise CheckpointError("the header is not a JSON object; this is not a safetensors file")
    with safe_open(path, framework="numpy"):  # opening validates names, shapes, offsets and coverage
        pass
    header = parse_json(buffer[8:data])
    metadata = header.pop("__metadata__", None) or {}
    tensors = {}
    for name, entry in header.items():
        stored: str = entry["dtype"]
        info = TensorInfo(name, _DTYPES.get(stored, stored), tuple(entry["shape"]), path)
        dtype = numpy_dtype(info.dtype, name)
        begin, end = entry["data_offsets"]
        if end - begin != info.nbytes:
            raise CheckpointError(f"tensor {name!r} needs {info.nbytes} bytes but has {end - begin}")
        view = np.ndarray(info.shape, dtype, buffer, offset=data + begin)
        tensors[name] = LazyTensor(info, lambda view=view: view)
    return Contents("safetensors", (path,), tensors, metadata)
