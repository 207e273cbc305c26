"""MLX's arrays as numpy's and back, and names of their dtypes; numpy knows bfloat16 through ml_dtypes alone."""

from __future__ import annotations

import ml_dtypes
import mlx.core as mx
import numpy as np


def dtype_name(dtype: mx.Dtype) -> str:
    """As numpy calls it: "float32"."""
    return str(dtype).rpartition(".")[2]


def to_numpy(array: mx.array) -> np.ndarray:
    """An array of the same dtype."""
    if array.dtype == mx.bfloat16:
        return np.array(array.view(mx.uint16)).view(ml_dtypes.bfloat16)
    return np.array(array)


def to_mlx(array: np.ndarray) -> mx.array:
    """An array of the same dtype."""
    if array.dtype.name == "bfloat16":
        return mx.array(array.view(np.uint16)).view(mx.bfloat16)
    return mx.array(array)
