"""What every reader hands back: named tensors that cost nothing until they are read."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import ml_dtypes
import numpy as np

from pytorch_to_mlx.errors import CheckpointError

_NUMPY = (
    *("float64", "float32", "float16", "int64", "int32", "int16", "int8"),
    *("uint64", "uint32", "uint16", "uint8", "bool", "complex64", "complex128"),
)
_ML_DTYPES = (
    *("bfloat16", "float8_e4m3fn", "float8_e4m3fnuz"),
    *("float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
)
DTYPES: Mapping[str, np.dtype] = {name: np.dtype(name) for name in _NUMPY} | {
    name: np.dtype(getattr(ml_dtypes, name)) for name in _ML_DTYPES
}
"""Every element type that a checkpoint may hold, by its NumPy or ml_dtypes name."""


def numpy_dtype(name: str, tensor: str) -> np.dtype:
    """The NumPy dtype called `name`.

    Raises:
        CheckpointError: `tensor` is stored in a type that cannot be converted (quantized, 4-bit, ...).
    """
    if name not in DTYPES:
        raise CheckpointError(
            f"tensor {tensor!r} has dtype {name}, which is not supported; save the checkpoint in "
            "float32, float16, bfloat16, float8, an integer type or bool"
        )
    return DTYPES[name]


@dataclass(frozen=True)
class TensorInfo:
    """What is known of a tensor before any of its bytes are read.

    Attributes:
        dtype: a NumPy or ml_dtypes name: "float32", "bfloat16", "float8_e4m3fn", "int64", "bool", ...
        shape: as stored in the file, in upstream's layout.
        file: the file that holds the tensor's bytes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path

    @property
    def nbytes(self) -> int:
        """Size of the tensor in bytes once it is contiguous."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize


@dataclass(frozen=True)
class LazyTensor:
    """A tensor's description and the function that maps or decodes its elements."""

    info: TensorInfo
    load: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Contents:
    """All that a reader found in one file (or, for an index, in all of its shards)."""

    format: str
    files: tuple[Path, ...]
    tensors: Mapping[str, LazyTensor]
    metadata: Mapping[str, str] = field(default_factory=dict)
