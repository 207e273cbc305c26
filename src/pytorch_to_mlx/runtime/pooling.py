"""Pooling of images and sequences: x is (batch, *spatial, channels), with any number of spatial axes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.runtime.resize import take, weighted

Sizes = int | Sequence[int]
SHIFTED = 8  # taps up to which slices added one by one are faster than a view of all windows


def max_pool(
    x: mx.array,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> mx.array:
    """The largest of each window, as `torch.nn.functional.max_pool1d`, `max_pool2d` and `max_pool3d`.

    Args:
        kernel_size: a number for all spatial axes, or one for each; so are the others.
        stride: that of the kernel if not given.
    """
    windows = _windows(x, kernel_size, stride, padding, dilation, ceil_mode)
    if all(window.is_whole for window in windows):
        return mx.max(x, axis=tuple(range(1, x.ndim - 1)), keepdims=True)
    x = _padded(x, windows, _least(x.dtype))
    for axis, window in enumerate(windows, start=1):
        x = _along(x, axis, window, mx.maximum, mx.max)
    return x


def max_pool_with_indices(
    x: mx.array,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> tuple[mx.array, mx.array]:
    """The largest of each window and where it is, as `torch.nn.functional.max_pool2d(..., return_indices=True)`.

    Returns:
        The largest, and int64 places in the flattened spatial axes of x; of equals the first is taken.
    """
    windows = _windows(x, kernel_size, stride, padding, dilation, ceil_mode)
    padded = _padded(x, windows, _least(x.dtype))

    def taps(value: mx.array, axis: int, window: _Window) -> list[mx.array]:
        return [window.tap(value, axis, tap) for tap in range(window.size)]

    return _largest(x, padded, [(window, window.places(), taps) for window in windows])


def avg_pool(
    x: mx.array,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> mx.array:
    """The mean of each window, as `torch.nn.functional.avg_pool1d`, `avg_pool2d` and `avg_pool3d`.

    Args:
        kernel_size: a number for all spatial axes, or one for each; so are the others.
        stride: that of the kernel if not given.
        divisor_override: what sums are divided by instead of their numbers of elements.
    """
    windows = _windows(x, kernel_size, stride, padding, 1, ceil_mode)
    total = _wide(x)
    if all(window.is_whole for window in windows):
        total = mx.sum(total, axis=tuple(range(1, x.ndim - 1)), keepdims=True)
    else:
        total = _padded(total, windows, 0)
        for axis, window in enumerate(windows, start=1):
            total = _along(total, axis, window, mx.add, mx.sum)
    if divisor_override is not None:
        sign = -1 if divisor_override < 0 else 1
        return _divided(sign * total, sign * divisor_override, x.dtype)
    divisor: int | mx.array = 1
    for axis, window in enumerate(windows, start=1):
        counts = window.counts(count_include_pad)
        if (counts == counts[0]).all():
            divisor = divisor * int(counts[0])
        else:
            divisor = divisor * mx.array(counts.astype(np.int32)).reshape(-1, *[1] * (x.ndim - 1 - axis))
    return _divided(total, divisor, x.dtype)


def adaptive_avg_pool(x: mx.array, output_size: Sizes) -> mx.array:
    """The means of windows that divide x evenly, as `torch.nn.functional.adaptive_avg_pool1d`, `...2d` and `...3d`.

    Args:
        output_size: a number for all spatial axes, or one for each.
    """
    y = _wide(x)
    for axis, size in enumerate(_each(output_size, x.ndim - 2), start=1):
        if x.shape[axis] % size == 0:
            window = _Window(x.shape[axis], x.shape[axis] // size, x.shape[axis] // size, 0, 1, False)
            y = _along(y, axis, window, mx.add, mx.sum) / window.size
        else:
            places, lengths = _adaptive(x.shape[axis], size)
            inside = np.arange(places.shape[1]) < lengths[:, None]
            y = weighted(y, axis, places, (inside / lengths[:, None]).astype(np.float32))
    return y.astype(x.dtype)


def adaptive_max_pool(x: mx.array, output_size: Sizes) -> mx.array:
    """The largest of windows that divide x evenly, as `torch.nn.functional.adaptive_max_pool1d`, `...2d` and `...3d`.

    Args:
        output_size: a number for all spatial axes, or one for each.
    """
    for axis, size in enumerate(_each(output_size, x.ndim - 2), start=1):
        if x.shape[axis] % size == 0:
            window = _Window(x.shape[axis], x.shape[axis] // size, x.shape[axis] // size, 0, 1, False)
            x = _along(x, axis, window, mx.maximum, mx.max)
        else:
            places, _ = _adaptive(x.shape[axis], size)
            x = functools.reduce(mx.maximum, [take(x, column, axis) for column in places.T])
    return x


def adaptive_max_pool_with_indices(x: mx.array, output_size: Sizes) -> tuple[mx.array, mx.array]:
    """`adaptive_max_pool` and where each largest is: int64 places in the flattened spatial axes of x."""

    def taps(value: mx.array, axis: int, places: np.ndarray) -> list[mx.array]:
        return [take(value, column, axis) for column in places.T]

    listed = [_adaptive(size, out)[0] for size, out in zip(x.shape[1:-1], _each(output_size, x.ndim - 2), strict=True)]
    return _largest(x, x, [(places, places, taps) for places in listed])


def max_unpool(x: mx.array, indices: mx.array, output_size: Sequence[int]) -> mx.array:
    """Zeros but for x at `indices`, as `torch.nn.functional.max_unpool2d` and `max_unpool3d`.

    Args:
        indices: of x's shape, places in the flattened spatial axes of the result, as `max_pool_with_indices` gives.
        output_size: of the result's spatial axes.
    """
    batch, channels = x.shape[0], x.shape[-1]
    size = int(np.prod(output_size))
    flat = mx.zeros((batch, size, channels), x.dtype)
    count = int(np.prod(x.shape[1:-1]))
    rows = (batch, count, channels)
    flat = mx.put_along_axis(flat, indices.reshape(rows), x.reshape(rows), axis=1)
    return flat.reshape(batch, *output_size, channels)


def fractional_max_pool(
    x: mx.array, kernel_size: Sizes, output_size: Sizes, random_samples: mx.array
) -> tuple[mx.array, mx.array]:
    """The largest of windows that begin at random, and where it is, as `torch.nn.functional.fractional_max_pool2d`.

    Args:
        random_samples: (batch, channels, number of spatial axes), within [0, 1); those of the last axis come first,
            except for three spatial axes.

    Returns:
        The largest, and int64 places in the flattened spatial axes of x.
    """
    rank = x.ndim - 2
    kernels, outs = _each(kernel_size, rank), _each(output_size, rank)
    order = range(rank) if rank == 3 else range(rank - 1, -1, -1)
    steps = []
    for size, kernel, out, place in zip(x.shape[1:-1], kernels, outs, order, strict=True):
        sample = random_samples[:, :, place][:, None, :]
        each = mx.arange(out, dtype=mx.float32)[None, :, None]
        alpha = (size - kernel) / (out - 1) if out > 1 else 0.0
        starts = mx.floor((each + sample) * alpha) - mx.floor(sample * alpha)
        starts = mx.where(each == out - 1, size - kernel, starts).astype(mx.int32)
        steps.append([starts + tap for tap in range(kernel)])

    def taps(value: mx.array, axis: int, places: list[mx.array]) -> list[mx.array]:
        return [mx.take_along_axis(value, _placed(place, axis, value.ndim), axis=axis) for place in places]

    return _largest(x, x, [(places, places, taps) for places in steps])


class _Window:
    """The windows along one axis."""

    def __init__(self, length: int, size: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> None:
        self.length, self.size, self.stride, self.padding, self.dilation = length, size, stride, padding, dilation
        span = dilation * (size - 1) + 1
        free = length + 2 * padding - span
        self.count = (free + (stride - 1 if ceil_mode else 0)) // stride + 1
        if ceil_mode and (self.count - 1) * stride >= length + padding:  # it would begin in the padding on the right
            self.count -= 1
        if self.count < 1:
            raise ValueError(f"windows of {span} do not fit into {length} elements padded by {padding}")
        self.is_whole = size == length and self.count == 1 and not padding and dilation == 1
        self.right = max(0, (self.count - 1) * stride + span - length - padding)

    def tap(self, x: mx.array, axis: int, tap: int) -> mx.array:
        """Element `tap` of every window."""
        start = tap * self.dilation
        return x[(slice(None),) * axis + (slice(start, start + (self.count - 1) * self.stride + 1, self.stride),)]

    def places(self) -> np.ndarray:
        """(count, size), where each element is; those before the beginning are the first within their window."""
        starts = np.arange(self.count)[:, None] * self.stride - self.padding
        places = starts + np.arange(self.size) * self.dilation
        first = starts - np.minimum(starts, 0) // self.dilation * self.dilation
        first = np.where(starts < 0, starts + -(starts // self.dilation) * self.dilation, first)
        return np.where(places < 0, first, places)

    def counts(self, with_padding: bool) -> np.ndarray:
        """How many elements of each window count for its mean."""
        starts = np.arange(self.count) * self.stride - self.padding
        ends = starts + self.size
        if with_padding:
            return np.minimum(ends, self.length + self.padding) - starts
        return np.minimum(ends, self.length) - np.maximum(starts, 0)


def _windows(
    x: mx.array, kernel: Sizes, stride: Sizes | None, padding: Sizes, dilation: Sizes, ceil_mode: bool
) -> list[_Window]:
    rank = x.ndim - 2
    each = [_each(given, rank) for given in (kernel, kernel if stride is None else stride, padding, dilation)]
    return [_Window(n, k, s, p, d, ceil_mode) for n, k, s, p, d in zip(x.shape[1:-1], *each, strict=True)]


def _each(value: Sizes, count: int) -> list[int]:
    return [value] * count if isinstance(value, int) else list(value)


def _padded(x: mx.array, windows: Sequence[_Window], value: float) -> mx.array:
    widths = [(window.padding, window.right) for window in windows]
    if not any(any(pair) for pair in widths):
        return x
    return mx.pad(x, [(0, 0), *widths, (0, 0)], constant_values=mx.array(value, x.dtype))


def _along(
    x: mx.array,
    axis: int,
    window: _Window,
    pair: Callable[[mx.array, mx.array], mx.array],
    reduce: Callable[..., mx.array],
) -> mx.array:
    """Windows along one axis reduced to a number each; those of several axes are reduced axis by axis."""
    if window.size <= SHIFTED:
        return functools.reduce(pair, [window.tap(x, axis, tap) for tap in range(window.size)])
    if window.count == 1 and window.dilation == 1:
        return reduce(x[(slice(None),) * axis + (slice(window.size),)], axis=axis, keepdims=True)
    before, length, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    row = int(np.prod(after))
    shape = (int(np.prod(before)), window.count, window.size, row)
    strides = (length * row, window.stride * row, window.dilation * row, 1)
    return reduce(mx.as_strided(mx.contiguous(x), shape, strides), axis=2).reshape(*before, window.count, *after)


def _largest(x: mx.array, padded: mx.array, steps: list) -> tuple[mx.array, mx.array]:
    """The largest and its place, last axis first, so that of equals the first in the order of rows is kept.

    `steps` has for each axis what `taps` wants, the places of all elements of the windows, and `taps`.
    """
    best, places = padded, {}
    for axis in range(x.ndim - 2, 0, -1):
        window, where, taps = steps[axis - 1]
        columns = list(where.T) if isinstance(where, np.ndarray) else where
        values = taps(best, axis, window)
        carried = {key: taps(value, axis, window) for key, value in places.items()}
        best, places = values[0], {key: value[0] for key, value in carried.items()}
        place = mx.broadcast_to(_placed(columns[0], axis, x.ndim), best.shape)
        for tap in range(1, len(values)):
            larger = values[tap] > best
            if mx.issubdtype(x.dtype, mx.inexact):
                larger = larger | mx.isnan(values[tap])
            best = mx.where(larger, values[tap], best)
            place = mx.where(larger, _placed(columns[tap], axis, x.ndim), place)
            places = {key: mx.where(larger, carried[key][tap], value) for key, value in places.items()}
        places[axis] = place
    flat = places[1].astype(mx.int64)
    for axis in range(2, x.ndim - 1):
        flat = flat * x.shape[axis] + places[axis]
    return best, flat


def _placed(places: np.ndarray | mx.array, axis: int, ndim: int) -> mx.array:
    """Places along `axis`, of all else or of (batch, places, channels), in a shape to broadcast."""
    if isinstance(places, mx.array):
        return mx.expand_dims(places, [each for each in range(1, ndim - 1) if each != axis])
    return mx.array(places.astype(np.int32)).reshape(-1, *[1] * (ndim - 1 - axis))


def _adaptive(length: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(count, longest) places of windows, the last of which is repeated in shorter ones, and (count,) lengths."""
    each = np.arange(count)
    starts, ends = each * length // count, -(-(each + 1) * length // count)
    lengths = ends - starts
    return np.minimum(starts[:, None] + np.arange(lengths.max()), ends[:, None] - 1), lengths


def _least(dtype: mx.Dtype) -> float:
    return -mx.inf if mx.issubdtype(dtype, mx.inexact) else mx.iinfo(dtype).min


def _wide(x: mx.array) -> mx.array:
    return x.astype(mx.float32) if x.dtype in (mx.float16, mx.bfloat16) else x


def _divided(total: mx.array, divisor: int | mx.array, dtype: mx.Dtype) -> mx.array:
    """The quotient; of integers it is rounded towards zero, as C does."""
    if mx.issubdtype(dtype, mx.inexact):
        return (total / divisor).astype(dtype)
    return (mx.sign(total) * (mx.abs(total) // divisor)).astype(dtype)
