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
