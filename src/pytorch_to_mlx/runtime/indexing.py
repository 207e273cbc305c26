"""Reading and writing elements by index, where the result is a new array."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import mlx.core as mx

Index = tuple[mx.array | slice | int, ...]


def gather(x: mx.array, index: mx.array, axis: int) -> mx.array:
    """What `index` says of x along `axis`, as `torch.gather`: other axes of x may be longer than those of `index`."""
    if x.ndim == 0 or index.size == 0:
        return mx.broadcast_to(x, index.shape) if x.ndim == 0 else mx.zeros(index.shape, x.dtype)
    if index.ndim == 0:
        index = index[None]
        return x[index].squeeze(0)
    axis %= x.ndim
    corner = tuple(slice(None) if place == axis else slice(size) for place, size in enumerate(index.shape))
    return mx.take_along_axis(x[corner], index, axis=axis)


def index_put(x: mx.array, index: Index, values: Any, accumulate: bool = False) -> mx.array:
    """x after `x[index] = values`, or after `x[index] += values` that counts repeated indices, as `torch.index_put`.

    Args:
        index: arrays of integers, slices and integers, one for each of the first axes of x.
        values: broadcast to x[index].
    """
    if x.size == 0:
        return x
    with scatters(x):
        if accumulate:
            return x.at[index].add(mx.array(values, x.dtype))
        y = mx.array(x)
        y[index] = values
        return y


def index_fill(x: mx.array, axis: int, index: mx.array, value: Any) -> mx.array:
    """x with `value` in the slices along `axis` that `index` names, as `torch.index_fill`."""
    if x.ndim == 0:
        return mx.array(value, x.dtype)
    chosen = mx.any(mx.arange(x.shape[axis]) == (index.reshape(-1, 1) % x.shape[axis]), axis=0)
    shape = [1] * x.ndim
    shape[axis] = -1
    return mx.where(chosen.reshape(shape), mx.array(value, x.dtype), x)


def put(x: mx.array, index: mx.array, values: mx.array, accumulate: bool = False) -> mx.array:
    """x with `values` at the places `index` of x in row order, as `torch.put`."""
    if index.size == 0:
        return x
    flat = index_put(x.reshape(-1), (index.reshape(-1),), values.reshape(-1), accumulate)
    return flat.reshape(x.shape)


def mask_put(x: mx.array, mask: mx.array, values: mx.array, accumulate: bool = False) -> mx.array:
    """x with `values` where `mask` is True, as `torch.index_put` with a boolean index.

    Args:
        mask: of the first axes of x.
        values: (n, *rest) for the n elements of `mask` that are True, in row order, and the other axes of x; or of
            axes that are broadcast to that.
    """
    rest = x.shape[mask.ndim :]
    if values.ndim == len(rest) + 1 and values.shape[0] != 1:
        order = mx.cumsum(mask.reshape(-1).astype(mx.int32)) - 1
        values = values[mx.clip(order, 0, values.shape[0] - 1)].reshape(*mask.shape, *values.shape[1:])
    elif values.ndim == len(rest) + 1:
        values = values[0]
    seen = mask.reshape(*mask.shape, *([1] * len(rest)))
    values = values.astype(x.dtype)
    return mx.where(seen, x + values if accumulate else values, x)


def masked_scatter(x: mx.array, mask: mx.array, source: mx.array) -> mx.array:
    """x with the first elements of `source` where `mask` is True, in row order, as `torch.masked_scatter`."""
    x, mask = mx.broadcast_arrays(x, mask)
    if source.size == 0 or x.size == 0:
        return x
    order = mx.cumsum(mask.reshape(-1).astype(mx.int32)) - 1
    values = source.reshape(-1)[mx.clip(order, 0, source.size - 1)]
    return mx.where(mask, values.reshape(x.shape).astype(x.dtype), x)


def nonzero_static(x: mx.array, size: int, fill_value: int = -1) -> mx.array:
    """The first `size` places of x that are not zero, then `fill_value`, as `torch.nonzero_static`.

    Returns:
        (size, axes of x) of int64.
    """
    if x.size == 0 or size == 0 or x.ndim == 0:
        zero = mx.zeros((size, x.ndim), mx.int64)
        return zero if x.ndim == 0 else zero + fill_value
    zero = (x == 0).reshape(-1)
    order = mx.argsort(zero)[:size].astype(mx.int64)
    columns, step = [], 1
    for length in reversed(x.shape):
        columns.append(order // step % length)
        step *= length
    places = mx.stack(columns[::-1], axis=-1)
    found = mx.arange(order.size)[:, None] < mx.sum(~zero)
    places = mx.where(found, places, mx.array(fill_value, mx.int64))
    return mx.pad(places, [(0, size - order.size), (0, 0)], constant_values=fill_value)


def one_hot(x: mx.array, classes: int) -> mx.array:
    """1 in the place of each class and 0 elsewhere, as `torch.nn.functional.one_hot`: an axis of `classes` is added."""
    return (x[..., None] == mx.arange(classes, dtype=x.dtype)).astype(mx.int64)


def select_scatter(x: mx.array, values: mx.array, axis: int, index: int | slice) -> mx.array:
    """x with `values` at `index` of `axis`, as `torch.select_scatter` and, of a slice, `torch.slice_scatter`."""
    y = mx.array(x)
    y[(slice(None),) * (axis % x.ndim) + (index,)] = values
    return y


def diagonal_scatter(x: mx.array, values: mx.array, offset: int = 0, axis1: int = 0, axis2: int = 1) -> mx.array:
    """x with `values` on a diagonal, as `torch.diagonal_scatter`."""
    first, second = axis1 % x.ndim, axis2 % x.ndim
    length = values.shape[-1]
    if not values.size:
        return x
    index: list[Any] = [slice(None)] * x.ndim
    index[first] = mx.arange(length) + max(-offset, 0)
    index[second] = mx.arange(length) + max(offset, 0)
    # Arrays that are not neighbours put their axis first.
    values = mx.moveaxis(values, -1, 0 if abs(first - second) > 1 else min(first, second))
    return index_put(x, tuple(index), values)


def as_strided_scatter(
    x: mx.array, values: mx.array, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0
) -> mx.array:
    """x with `values` where `mx.as_strided(x, shape, strides, offset)` looks, as `torch.as_strided_scatter`."""
    places = mx.as_strided(mx.arange(x.size), shape, strides, offset)
    return put(x, places, values)


def scatters(x: mx.array) -> AbstractContextManager[Any]:
    """Where to write elements of x: Metal does not scatter those of 8 bytes."""
    return mx.stream(mx.cpu) if x.itemsize == 8 else nullcontext()
