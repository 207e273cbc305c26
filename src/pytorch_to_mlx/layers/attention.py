"""Scaled dot-product attention."""

from __future__ import annotations

import ctypes
from functools import partial
from typing import Any

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.layers import native
from pytorch_to_mlx.layers.cores import on_one_core, shares, together, usable_cores
from pytorch_to_mlx.layers.device import linux_cpu


def attention(q: mx.array, k: mx.array, v: mx.array, *, scale: float, mask: mx.array | None = None) -> mx.array:
    """softmax(scale q k^T + mask) v.

    MLX's fused operation, but on the Linux CPU backend, where that is a pass over memory for each step: there, in
    float32, many queries are attended to by a function of our own (native/attention.cpp), several times as fast, which
    evaluates its inputs, and is a constant to `mx.grad`.

    Args:
        q: (batch, heads, queries, depth).
        k: (batch, kv heads, keys, depth); the number of heads is a multiple of that of kv heads, which are shared by
            neighbours.
        v: (batch, kv heads, keys, value depth).
        scale: of the scores, usually depth ** -0.5.
        mask: added to the scores, or boolean with True where a key is seen; broadcast to (batch, heads, queries, keys).

    Returns:
        (batch, heads, queries, value depth).
    """
    y = None
    if q.shape[2] > 1 and q.dtype == k.dtype == v.dtype == mx.float32 and linux_cpu() and _fit(q, k, v):
        y = _native(q, k, v, scale, mask)
    return mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=mask) if y is None else y


def _fit(q: mx.array, k: mx.array, v: mx.array) -> bool:
    """Whether shapes agree and nothing is empty; else MLX tells what is wrong."""
    return (
        0 not in (*q.shape, *k.shape, *v.shape)
        and q.shape[0] == k.shape[0] == v.shape[0]
        and k.shape[1:3] == v.shape[1:3]
        and q.shape[3] == k.shape[3]
        and q.shape[1] % k.shape[1] == 0
    )


def _native(q: mx.array, k: mx.array, v: mx.array, scale: float, mask: mx.array | None) -> mx.array | None:
    """`attention` of float32 arrays whose shapes agree, on all cores.

    Returns:
        (batch, heads, queries, value depth), laid out as (batch, queries, heads, value depth); None where there is no
        library, and inside `mx.compile` and `mx.vmap`.

    Raises:
        MemoryError: not enough for the scores of a block of queries.
    """
    if native.library() is None:
        return None
    batch, heads, queries, _ = q.shape
    if mask is not None:
        if mask.dtype == mx.bool_:
            mask = mx.where(mask, mx.array(0, q.dtype), mx.array(-mx.inf, q.dtype))
        mask = mx.broadcast_to(mask.astype(q.dtype), (batch, heads, queries, k.shape[2]))
    given = [q, k, v] if mask is None else [q, k, v, mask]
    if not native.evaluated(given):
        return None
    views = [np.array(each, copy=False) for each in given]
    out = np.empty((batch, queries, heads, v.shape[3]), np.float32).swapaxes(1, 2)
    cores = 1 if on_one_core() else min(usable_cores(), batch * heads)
    together([partial(_attend, views, out, scale, *share) for share in shares(batch * heads, cores)])
    return mx.array(out.swapaxes(1, 2)).swapaxes(1, 2)


def _attend(views: list[np.ndarray], out: np.ndarray, scale: float, first: int, last: int) -> None:
    """The heads `first` to `last` of all batches; the arrays live as long as this call."""
    q, k, v = views[:3]
    pointers = [part for view in views for part in (view.ctypes.data, _strides(view))]
    pointers += [None] * (8 - len(pointers)) + [out.ctypes.data, _strides(out)]
    sizes = (q.shape[1], q.shape[1] // k.shape[1], q.shape[2], k.shape[2], q.shape[3], v.shape[3])
    array, size = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_int64)], ctypes.c_int64
    attend = native.function("attention", *array * 5, *[size] * 6, ctypes.c_float, size, size)
    if attend(*pointers, *sizes, scale, first, last):
        raise MemoryError("attention: not enough memory for the scores of a block of queries")


def _strides(view: np.ndarray) -> Any:
    """In elements; ctypes passes the array as a pointer."""
    return (ctypes.c_int64 * 4)(*(stride // view.itemsize for stride in view.strides))
