"""Reductions and running extrema that MLX lacks or defines otherwise than torch."""

from __future__ import annotations

import math

import mlx.core as mx

from pytorch_to_mlx.layers.elementwise import softmax

Axis = int | tuple[int, ...] | None


def nansum(x: mx.array, axis: Axis = None, keepdims: bool = False) -> mx.array:
    """`torch.nansum`: the sum of the numbers."""
    return mx.sum(mx.where(mx.isnan(x), 0, x).astype(x.dtype), axis=axis, keepdims=keepdims)


def nanmean(x: mx.array, axis: Axis = None, keepdims: bool = False) -> mx.array:
    """`torch.nanmean`: the mean of the numbers."""
    count = mx.sum((~mx.isnan(x)).astype(mx.float32), axis=axis, keepdims=keepdims)
    return nansum(x, axis, keepdims) / count.astype(x.dtype)


def var(x: mx.array, axis: Axis = None, keepdims: bool = False, correction: float = 1) -> mx.array:
    """`torch.var`: of complex numbers too, by any divisor; nan or infinite where that is not above nothing."""
    deviation = mx.abs(x - mx.mean(x, axis=axis, keepdims=True))
    places = range(x.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    count = math.prod(x.shape[place] for place in places)
    return mx.sum(mx.square(deviation), axis=axis, keepdims=keepdims) / max(count - correction, 0)


def std(x: mx.array, axis: Axis = None, keepdims: bool = False, correction: float = 1) -> mx.array:
    """`torch.std`: the root of `var`."""
    return mx.sqrt(var(x, axis, keepdims, correction))


def vector_norm(x: mx.array, axis: Axis = None, keepdims: bool = False, ord: float = 2) -> mx.array:
    """`torch.linalg.vector_norm`: for any order, along any axes."""
    size = mx.abs(x)
    if ord == 0:
        return mx.sum((size != 0).astype(size.dtype), axis=axis, keepdims=keepdims)
    if ord == math.inf:
        return mx.max(size, axis=axis, keepdims=keepdims)
    if ord == -math.inf:
        return mx.min(size, axis=axis, keepdims=keepdims)
    if ord == 1:
        return mx.sum(size, axis=axis, keepdims=keepdims)
    if ord == 2:
        return mx.sqrt(mx.sum(mx.square(size), axis=axis, keepdims=keepdims))
    return mx.sum(size**ord, axis=axis, keepdims=keepdims) ** (1 / ord)


def safe_softmax(x: mx.array, axis: int = -1) -> mx.array:
    """`softmax`, and nothing in slices of -inf alone, where masks leave nothing to attend to."""
    hidden = mx.all(x == -mx.inf, axis=axis, keepdims=True)
    return mx.where(hidden, 0, softmax(x, axis)).astype(x.dtype)


def log_softmax(x: mx.array, axis: int = -1) -> mx.array:
    """Logarithm of the softmax along `axis`. MLX 0.32.4's in `mlx.nn` crashes where the axis has length one."""
    x = x - mx.max(x, axis=axis, keepdims=True)
    return x - mx.logsumexp(x, axis=axis, keepdims=True)


def median(x: mx.array, axis: int = -1, keepdims: bool = False) -> tuple[mx.array, mx.array]:
    """`torch.median`: the lower of two in the middle, and where it stands; nan where there is one."""
    order = mx.argsort(x, axis=axis)
    middle = mx.take(order, mx.array([(x.shape[axis] - 1) // 2]), axis=axis)
    if mx.issubdtype(x.dtype, mx.floating):
        bad = mx.isnan(x)
        first = mx.argmax(bad, axis=axis, keepdims=True)
        middle = mx.where(mx.any(bad, axis=axis, keepdims=True), first, middle)
    return _taken(x, middle, axis, keepdims)


def nanmedian(x: mx.array, axis: int = -1, keepdims: bool = False) -> tuple[mx.array, mx.array]:
    """`torch.nanmedian`: the median of the numbers."""
    if not mx.issubdtype(x.dtype, mx.floating):
        return median(x, axis, keepdims)
    order = mx.argsort(mx.where(mx.isnan(x), mx.inf, x), axis=axis)
    count = mx.sum((~mx.isnan(x)).astype(mx.int32), axis=axis, keepdims=True)
    middle = mx.take_along_axis(order, mx.maximum(count - 1, 0) // 2, axis=axis)
    return _taken(x, middle, axis, keepdims)


def mode(x: mx.array, axis: int = -1, keepdims: bool = False) -> tuple[mx.array, mx.array]:
    """`torch.mode`: the most frequent value, the smallest of several, and the last place where it stands."""
    moved = mx.moveaxis(x, axis, -1)
    ordered = mx.sort(moved, axis=-1)
    counts = mx.sum((ordered[..., :, None] == moved[..., None, :]).astype(mx.int32), axis=-1)
    best = mx.argmax(counts, axis=-1, keepdims=True)
    value = mx.take_along_axis(ordered, best, axis=-1)
    place = mx.max(mx.where(moved == value, mx.arange(moved.shape[-1]), -1), axis=-1, keepdims=True)
    value, place = mx.moveaxis(value, -1, axis), mx.moveaxis(place, -1, axis).astype(mx.int64)
    return (value, place) if keepdims else (value.squeeze(axis), place.squeeze(axis))


def _taken(x: mx.array, place: mx.array, axis: int, keepdims: bool) -> tuple[mx.array, mx.array]:
    value, place = mx.take_along_axis(x, place, axis=axis), place.astype(mx.int64)
    return (value, place) if keepdims else (value.squeeze(axis), place.squeeze(axis))


def cummax(x: mx.array, axis: int) -> tuple[mx.array, mx.array]:
    """`torch.cummax`: the largest so far along `axis`, and where it stood last."""
    return _running(x, mx.cummax(x, axis=axis), axis)


def cummin(x: mx.array, axis: int) -> tuple[mx.array, mx.array]:
    """`torch.cummin`: the smallest so far along `axis`, and where it stood last."""
    return _running(x, mx.cummin(x, axis=axis), axis)


def _running(x: mx.array, extreme: mx.array, axis: int) -> tuple[mx.array, mx.array]:
    shape = [-1 if place == axis % x.ndim else 1 for place in range(x.ndim)]
    places = mx.arange(x.shape[axis], dtype=mx.int64).reshape(shape)
    hits = (x == extreme) | (mx.isnan(x) & mx.isnan(extreme))
    return extreme, mx.cummax(mx.where(hits, places, 0), axis=axis)
