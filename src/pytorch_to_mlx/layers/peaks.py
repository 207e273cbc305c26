"""The largest of ranges of rows, in one pass where MLX takes many (layers/native/peaks.cpp)."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.layers import native
from pytorch_to_mlx.layers.device import linux_cpu


class Peaks(NamedTuple):
    """Of each range of each row, (rows, ranges).

    Attributes:
        most: the largest value, -inf of none.
        place: the first that is as large, in the row.
        logsumexp: the logarithm of the sum of e^x, -inf of none; its error is 1e-6.
    """

    most: np.ndarray
    place: np.ndarray
    logsumexp: np.ndarray


def peaks(x: mx.array, bar: np.ndarray, bounds: np.ndarray) -> Peaks | None:
    """Of x + bar on the Linux CPU backend, evaluated at once.

    Args:
        x: (rows, size) float32.
        bar: added to each row, (size,) float32.
        bounds: where ranges begin and end, in order, (rows, ranges + 1).

    Returns:
        None elsewhere, without g++, and of other types.

    Raises:
        ValueError: bounds are not in order, or not within the rows.
    """
    if not linux_cpu() or x.dtype != mx.float32 or native.library() is None or not native.evaluated([x]):
        return None
    (rows, size), ranges = x.shape, bounds.shape[1] - 1
    bounds = np.ascontiguousarray(bounds, np.int64)
    if bar.shape != (size,) or len(bounds) != rows or (np.diff(bounds) < 0).any():
        raise ValueError(f"ranges {bounds.tolist()} of {rows} rows of {size}, barred {bar.shape}")
    if rows and (bounds[:, 0].min() < 0 or bounds[:, -1].max() > size):
        raise ValueError(f"ranges {bounds.tolist()} reach beyond {size}")
    found = Peaks(*(np.empty((rows, ranges), kind) for kind in (np.float32, np.int64, np.float32)))
    arrays = [np.ascontiguousarray(np.array(x, copy=False)), np.ascontiguousarray(bar, np.float32), bounds]
    call = native.function("peaks", *[ctypes.c_void_p] * 3, *[ctypes.c_int64] * 3, *[ctypes.c_void_p] * 3)
    call(*(each.ctypes.data for each in arrays), rows, size, ranges, *(each.ctypes.data for each in found))
    return found
