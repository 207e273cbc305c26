"""Order: sorting, the largest and smallest, and places in sorted sequences."""

from __future__ import annotations

import mlx.core as mx


def sort(x: mx.array, axis: int = -1, descending: bool = False) -> tuple[mx.array, mx.array]:
    """x in order along `axis` and where each element was, as `torch.sort(stable=True)`: nan is the largest."""
    order = argsort(x, axis, descending)
    return (x, order) if x.ndim == 0 else (mx.take_along_axis(x, order, axis=axis), order)


def argsort(x: mx.array, axis: int = -1, descending: bool = False) -> mx.array:
    """Where the elements in order along `axis` are, as `torch.argsort(stable=True)`: nan is the largest."""
    if x.ndim == 0:
        return mx.zeros((), mx.int64)
    if not descending:
        return mx.argsort(x, axis=axis).astype(mx.int64)
    # Equal elements keep their order: the sort is stable, and both flips turn it round.
    backwards = mx.argsort(mx.flip(x, axis=axis), axis=axis).astype(mx.int64)
    return x.shape[axis] - 1 - mx.flip(backwards, axis=axis)


def topk(x: mx.array, k: int, axis: int = -1, largest: bool = True) -> tuple[mx.array, mx.array]:
    """The k largest or smallest elements along `axis`, in order, and where they are, as `torch.topk`.

    Of equal elements the first are taken; which ones torch takes is not specified.
    """
    if x.ndim == 0:
        return (x, mx.zeros((), mx.int64)) if k else (mx.zeros((0,), x.dtype), mx.zeros((0,), mx.int64))
    order = argsort(x, axis, descending=largest)
    order = order[(slice(None),) * (axis % x.ndim) + (slice(k),)]
    return mx.take_along_axis(x, order, axis=axis), order


def kthvalue(x: mx.array, k: int, axis: int = -1, keepdims: bool = False) -> tuple[mx.array, mx.array]:
    """The k-th smallest element along `axis`, counted from 1, and where it is, as `torch.kthvalue`."""
    if x.ndim == 0:
        return x, mx.zeros((), mx.int64)
    order = mx.take(mx.argsort(x, axis=axis).astype(mx.int64), mx.array([k - 1]), axis=axis)
    return _chosen(x, order, axis, keepdims)


def _chosen(x: mx.array, order: mx.array, axis: int, keepdims: bool) -> tuple[mx.array, mx.array]:
    values = mx.take_along_axis(x, order, axis=axis)
    return (values, order) if keepdims else (values.squeeze(axis), order.squeeze(axis))


def searchsorted(sequence: mx.array, values: mx.array, side: str = "left") -> mx.array:
    """Where `values` belong in sorted sequences, as `torch.searchsorted`: nan is the largest.

    Args:
        sequence: (n,), or (..., n) with the same first axes as `values`.
        side: of elements that are equal: "left" of them, or "right".

    Returns:
        int64, in the shape of `values`.
    """
    dtype = mx.result_type(sequence, values)
    sequence, values = sequence.astype(dtype), values.astype(dtype)
    size = sequence.shape[-1]
    if sequence.ndim == 1:
        sequence = mx.broadcast_to(sequence, (*values.shape[:-1], size))
    low = mx.zeros(values.shape, mx.int64)
    high = mx.full(values.shape, size, mx.int64)
    if size == 0 or values.size == 0:
        return low
    scalar = values.ndim == 0
    if scalar:
        low, high, values = low[None], high[None], values[None]
    for _ in range(size.bit_length()):
        middle = (low + high) // 2
        found = mx.take_along_axis(sequence, mx.minimum(middle, size - 1), axis=-1)
        # Written so that a nan on either side counts as torch counts it.
        before = ~(found >= values) if side == "left" else ~(found > values)
        active = low < high
        low = mx.where(active & before, middle + 1, low)
        high = mx.where(active & ~before, middle, high)
    return low.squeeze(0) if scalar else low


def histc(x: mx.array, bins: int, low: float, high: float) -> mx.array:
    """How many elements of x are in each of `bins` equal parts of low to high, as `torch.histc`.

    Args:
        low, high: both 0 for the smallest and largest of x.
    """
    x = x.reshape(-1)
    first, last = mx.array(low, x.dtype), mx.array(high, x.dtype)
    if low == high:
        if x.size and low == 0:
            first, last = mx.min(x), mx.max(x)
        same = first == last
        first, last = mx.where(same, first - 1, first), mx.where(same, last + 1, last)
    place = mx.floor((x - first) * (bins / (last - first)).astype(x.dtype)).astype(mx.int32)
    place = mx.where(place == bins, bins - 1, place)
    inside = (x >= first) & (x <= last)
    counts = mx.zeros((bins + 1,), mx.int32).at[mx.where(inside, place, bins)].add(mx.ones(x.shape, mx.int32))
    return counts[:bins].astype(x.dtype)
