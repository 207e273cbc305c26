"""Interpolation of images and sequences: x is (batch, *spatial, channels), with any number of spatial axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mlx.core as mx
import numpy as np

DENSE = 64  # an axis of up to so many elements for each tap is resized by a product with a matrix
NARROW = 8  # elements of a row below which they are gathered one by one
FILTERS: dict[str, int] = {"linear": 1, "bilinear": 1, "trilinear": 1, "bicubic": 2, "lanczos": 3}
"""Modes that weigh neighbours, by how far these reach to each side."""


def interpolate(
    x: mx.array,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool = False,
    antialias: bool = False,
) -> mx.array:
    """x at another size, as `torch.nn.functional.interpolate`.

    Args:
        size: of the result's spatial axes: a number for all, or one for each; by default x's times `scale_factor`.
        scale_factor: a number for all axes, or one for each. Given together with `size`, it tells where the result's
            elements lie in x.
        mode: "nearest", "nearest-exact", "linear", "bilinear" or "trilinear" (which are one), "bicubic", "lanczos"
            (antialiased only). "area" is `adaptive_avg_pool`.
    """
    rank = x.ndim - 2
    scales = list(scale_factor) if isinstance(scale_factor, Sequence) else [scale_factor] * rank
    if size is None:
        size = [int(n * scale) for n, scale in zip(x.shape[1:-1], scales, strict=True) if scale is not None]
    sizes = list(size) if isinstance(size, Sequence) else [size] * rank
    lines = [
        (axis, x.shape[axis], sizes[axis - 1], _ratio(x.shape[axis], sizes[axis - 1], scales[axis - 1], align_corners))
        for axis in range(1, rank + 1)
    ]
    if mode in ("nearest", "nearest-exact"):
        exact = mode == "nearest-exact"
        return _nearest(x, {axis: _nearest_places(a, b, ratio, exact) for axis, a, b, ratio in lines})
    if mode not in FILTERS or (mode == "lanczos" and not antialias):
        raise ValueError(f"mode {mode!r} is not known{'' if mode not in FILTERS else ' without antialias'}")
    dtype = x.dtype
    x = x.astype(mx.float32)
    for axis, before, after, ratio in lines:
        if before == after and (antialias or mode != "bicubic"):
            continue
        if antialias:
            x = weighted(x, axis, *_antialiased(before, after, ratio, mode))
        elif mode == "bicubic":
            x = weighted(x, axis, *_cubic(before, after, ratio, align_corners))
        else:
            x = weighted(x, axis, *_linear(before, after, ratio, align_corners))
    return x.astype(dtype)


def take(x: mx.array, places: np.ndarray, axis: int) -> mx.array:
    """Elements of x at `places` along `axis`, by whole rows where these are long."""
    before, length, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    count, row = int(np.prod(before)), int(np.prod(after))
    index = mx.array(places.astype(np.int32))
    if count * row == 0:
        return mx.zeros((*before, len(places), *after), x.dtype)
    if row < NARROW:
        return mx.take_along_axis(x, index.reshape(*[1] * axis, -1, *[1] * len(after)), axis=axis)
    if count > 1:
        index = (mx.arange(count, dtype=mx.int32)[:, None] * length + index).flatten()
    return x.reshape(count * length, row)[index].reshape(*before, len(places), *after)


def weighted(x: mx.array, axis: int, places: np.ndarray, weights: np.ndarray) -> mx.array:
    """Sums of elements along `axis`, times weights.

    By a product with a matrix where taps are many; then what is not finite spreads along its line.

    Args:
        places, weights: (size of the result, taps).
    """
    count, taps = places.shape
    before, length, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    if taps > 2 and length <= DENSE * taps:
        matrix = np.zeros((count, length), np.float32)
        np.add.at(matrix, (np.arange(count)[:, None], places), weights)
        return (mx.array(matrix) @ x.reshape(int(np.prod(before)), length, int(np.prod(after)))).reshape(
            *before, count, *after
        )
    columns = [mx.array(column).reshape(-1, *[1] * len(after)) for column in weights.T]
    total = take(x, places[:, 0], axis) * columns[0]
    for tap in range(1, taps):
        total = total + take(x, places[:, tap], axis) * columns[tap]
    return total


def _ratio(before: int, after: int, scale: float | None, align_corners: bool) -> np.float32:
    """How far apart in x the result's elements lie, in the precision that PyTorch has."""
    if align_corners:
        return np.float32(before - 1) / np.float32(after - 1) if after > 1 else np.float32(0)
    return np.float32(before) / np.float32(after) if scale is None else np.float32(1.0 / scale)


def _sources(after: int, ratio: np.float32, align_corners: bool) -> np.ndarray:
    each = np.arange(after, dtype=np.float64)  # with the rounding of a fused multiplication and addition
    sources = np.float64(ratio) * (each if align_corners else each + 0.5) - (0 if align_corners else 0.5)
    return sources.astype(np.float32)


def _nearest_places(before: int, after: int, ratio: np.float32, exact: bool) -> np.ndarray:
    each = np.arange(after, dtype=np.float32)
    sources = np.maximum(_sources(after, ratio, False), 0) + np.float32(0.5) if exact else each * ratio
    return np.minimum(np.floor(sources).astype(np.int64), before - 1)


def _nearest(x: mx.array, places: dict[int, np.ndarray]) -> mx.array:
    """Elements at `places`; where each stands a number of times, x is repeated without an index."""
    repeats = [1] * x.ndim
    for axis, found in places.items():
        times = max(1, len(found) // x.shape[axis])
        if np.array_equal(found, np.arange(x.shape[axis] * times) // times):
            repeats[axis] = times
        else:
            x = take(x, found, axis)
    if all(times == 1 for times in repeats):
        return x
    split = [each for size, times in zip(x.shape, repeats, strict=True) for each in (size, times)[: 1 + (times > 1)]]
    wide = [each for size, times in zip(x.shape, repeats, strict=True) for each in (size, 1)[: 1 + (times > 1)]]
    shape = [size * times for size, times in zip(x.shape, repeats, strict=True)]
    return mx.broadcast_to(x.reshape(wide), split).reshape(shape)


def _linear(before: int, after: int, ratio: np.float32, align_corners: bool) -> tuple[np.ndarray, np.ndarray]:
    sources = np.maximum(_sources(after, ratio, align_corners), 0)
    first = np.minimum(np.floor(sources).astype(np.int64), before - 1)
    share = np.clip(sources - first.astype(np.float32), 0, 1)
    return np.stack([first, np.minimum(first + 1, before - 1)], axis=1), np.stack([1 - share, share], axis=1)


def _cubic(before: int, after: int, ratio: np.float32, align_corners: bool) -> tuple[np.ndarray, np.ndarray]:
    sources = _sources(after, ratio, align_corners)
    first = np.floor(sources)
    places = first[:, None].astype(np.int64) + np.arange(-1, 3)
    return np.clip(places, 0, before - 1), cubic_weights(sources - first)


def cubic_weights(share: np.ndarray) -> np.ndarray:
    """(..., 4) weights of two neighbours to each side; `share` is the distance from the second."""
    distances = np.stack([share + 1, share, 1 - share, 2 - share], axis=-1).astype(np.float32)
    return _cubic_filter(distances, -0.75).astype(np.float32)


def _cubic_filter(x: np.ndarray, a: float) -> np.ndarray:
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _lanczos_filter(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


def _antialiased(before: int, after: int, ratio: np.float32, mode: str) -> tuple[np.ndarray, np.ndarray]:
    """All that lies within the filter's reach, which is widened where the image becomes smaller."""
    filters: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        1: lambda x: np.maximum(1 - np.abs(x), 0),
        2: lambda x: _cubic_filter(x, -0.5),
        3: _lanczos_filter,
    }
    widening = max(ratio, np.float32(1))
    reach = np.float32(FILTERS[mode]) * widening
    centers = ratio * (np.arange(after, dtype=np.float32) + np.float32(0.5))
    first = np.maximum((centers - reach + np.float32(0.5)).astype(np.int64), 0)
    last = np.minimum((centers + reach + np.float32(0.5)).astype(np.int64), before)
    places = first[:, None] + np.arange((last - first).max())
    weights = filters[FILTERS[mode]]((places - centers[:, None] + np.float32(0.5)) / widening)
    weights = np.where(places < last[:, None], weights, 0)
    weights = weights / weights.sum(axis=1, keepdims=True)
    return np.minimum(places, before - 1), weights.astype(np.float32)
