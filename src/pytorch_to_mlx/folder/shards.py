"""How tensors lie in safetensors files: known in full from names, shapes and dtypes, before any data is read.

The format (https://huggingface.co/docs/safetensors): 8 bytes of header length, a JSON header padded with
spaces to a multiple of 8, then the data.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from pytorch_to_mlx.errors import FolderError
from pytorch_to_mlx.weights import TensorSpec, numpy_dtype

CODES = {  # what MLX computes with on every device
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "uint16": "U16",
    "int16": "I16",
    "float16": "F16",
    "bfloat16": "BF16",
    "uint32": "U32",
    "int32": "I32",
    "float32": "F32",
    "uint64": "U64",
    "int64": "I64",
    "complex64": "C64",
}


@dataclass(frozen=True)
class Shard:
    """One file: its header with the length before it, and where in the file each tensor starts."""

    file: str
    header: bytes
    starts: dict[str, int]
    data_bytes: int


def plan_shards(specs: Sequence[TensorSpec], max_bytes: int) -> list[Shard]:
    """Files of at most `max_bytes` of data (more only for a tensor that alone is larger), in the order given.

    Raises:
        FolderError: no tensors, a name that occurs twice, or a dtype that MLX has not on every device.
    """
    _check(specs)
    groups: list[list[TensorSpec]] = [[]]
    room = max_bytes
    for spec in specs:
        if groups[-1] and spec.nbytes > room:
            groups.append([])
            room = max_bytes
        groups[-1].append(spec)
        room -= spec.nbytes
    if len(groups) == 1:
        return [_lay_out("model.safetensors", groups[0])]
    return [
        _lay_out(f"model-{number:05d}-of-{len(groups):05d}.safetensors", group)
        for number, group in enumerate(groups, 1)
    ]


def index_of(shards: Sequence[Shard]) -> bytes:
    """The text of model.safetensors.index.json."""
    total = sum(shard.data_bytes for shard in shards)
    files = {name: shard.file for shard in shards for name in shard.starts}
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(files.items()))}
    return (json.dumps(index, indent=2, ensure_ascii=False) + "\n").encode()


def _check(specs: Sequence[TensorSpec]) -> None:
    if not specs:
        raise FolderError("model.safetensors: there are no tensors to write")
    seen = {"__metadata__"}
    for spec in specs:
        if spec.name in seen:
            raise FolderError(f"{spec.name}: is taken: two tensors of a model folder cannot share a name")
        seen.add(spec.name)
        if spec.dtype not in CODES:
            known = ", ".join(CODES)
            raise FolderError(f"{spec.name}: is {spec.dtype}, which MLX has not: cast it to one of {known}")


def _lay_out(file: str, specs: Sequence[TensorSpec]) -> Shard:
    entries: dict[str, object] = {"__metadata__": {"format": "mlx"}}
    offsets: dict[str, int] = {}
    end = 0
    # Wide dtypes first, as in the safetensors library: every tensor starts at a multiple of its item size.
    for spec in sorted(specs, key=lambda spec: -numpy_dtype(spec.dtype).itemsize):
        offsets[spec.name], end = end, end + spec.nbytes
        span = [offsets[spec.name], end]
        entries[spec.name] = {"dtype": CODES[spec.dtype], "shape": list(spec.shape), "data_offsets": span}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    header = len(text).to_bytes(8, "little") + text
    return Shard(file, header, {name: len(header) + offset for name, offset in offsets.items()}, end)
