"""Sampling of images at places that other arrays give: x is (batch, *spatial, channels)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import mlx.core as mx

CUBIC_TAPS = (-1, 0, 1, 2)


def grid_sample(
    x: mx.array, grid: mx.array, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool = False
) -> mx.array:
    """x at the places of `grid`, as `torch.nn.functional.grid_sample`.

    Args:
        x: (batch, *spatial, channels), of two or three spatial axes.
        grid: (batch, *spatial of the result, number of spatial axes): within [-1, 1], of the last axis first.
        mode: "bilinear" (of volumes too), "nearest" or, of images, "bicubic".
        padding_mode: what is outside of x: "zeros", "border" or "reflection".

    Returns:
        (batch, *spatial of the result, channels).
    """
    sizes = x.shape[1:-1]
    dtype, grid = x.dtype, grid.astype(mx.float32)
    coordinates = [_unnormalized(grid[..., -1 - axis], size, align_corners) for axis, size in enumerate(sizes)]
    if mode != "bicubic":
        coordinates = [
            _inside(each, size, padding_mode, align_corners) for each, size in zip(coordinates, sizes, strict=True)
        ]
    taps: list[list[tuple[mx.array, mx.array | None]]] = []
    for each, size in zip(coordinates, sizes, strict=True):
        if mode == "nearest":
            taps.append([(mx.round(each), None)])
            continue
        first = mx.floor(each)
        share = each - first
        if mode == "bilinear":
            taps.append([(first, 1 - share), (first + 1, share)])
            continue
        places = [_inside(first + tap, size, padding_mode, align_corners) for tap in CUBIC_TAPS]
        taps.append(list(zip(places, _cubic_weights(share), strict=True)))
    total: mx.array | None = None
    for corner in itertools.product(*taps):
        value = _gather(x, [place for place, _ in corner])
        for _, weight in corner:
            value = value if weight is None else value * weight[..., None]
        total = value if total is None else total + value
    assert total is not None
    return total.astype(dtype)


def affine_grid(theta: mx.array, size: Sequence[int], align_corners: bool = False) -> mx.array:
    """The places in an image of an affine transformation's result, as `torch.nn.functional.affine_grid`.

    Args:
        theta: (batch, d, d + 1), matrices for d spatial axes.
        size: of the result's spatial axes.

    Returns:
        (batch, *size, d), as `grid_sample` wants them.
    """
    lines = []
    for length in size:
        line = mx.linspace(-1, 1, length) if length > 1 else mx.zeros((1,))
        lines.append(line if align_corners else line * ((length - 1) / length))
    axes = mx.meshgrid(*lines, indexing="ij")
    base = mx.stack([*axes[::-1], mx.ones(tuple(size))], axis=-1).reshape(-1, len(size) + 1)
    return (base.astype(theta.dtype) @ theta.swapaxes(1, 2)).reshape(theta.shape[0], *size, len(size))


def _unnormalized(coordinate: mx.array, size: int, align_corners: bool) -> mx.array:
    return (coordinate + 1) / 2 * (size - 1) if align_corners else ((coordinate + 1) * size - 1) / 2


def _inside(coordinate: mx.array, size: int, padding_mode: str, align_corners: bool) -> mx.array:
    """Coordinates moved to where the padding has its value from; with zeros, none so far off that it is no integer."""
    if padding_mode == "zeros":
        return mx.clip(coordinate, -4, size + 3)
    if padding_mode == "reflection":
        low, high = (0.0, size - 1.0) if align_corners else (-0.5, size - 0.5)
        coordinate = _reflected(coordinate, low, high)
    elif padding_mode != "border":
        raise ValueError(f"padding_mode {padding_mode!r} is not known")
    return mx.clip(coordinate, 0, size - 1)


def _reflected(coordinate: mx.array, low: float, high: float) -> mx.array:
    span = high - low
    if span == 0:
        return mx.zeros_like(coordinate)
    distance = mx.abs(coordinate - low)
    turns = mx.floor(distance / span)
    rest = distance - turns * span
    return mx.where(turns % 2 == 0, rest, span - rest) + low


def _cubic_weights(share: mx.array) -> list[mx.array]:
    a = -0.75

    def near(x: mx.array) -> mx.array:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: mx.array) -> mx.array:
        return ((x - 5) * x + 8) * x * a - 4 * a

    return [far(share + 1), near(share), near(1 - share), far(2 - share)]


def _gather(x: mx.array, places: Sequence[mx.array]) -> mx.array:
    """(batch, ..., channels): x at places that are (batch, ...) whole numbers, and 0 outside."""
    batch, *sizes, channels = x.shape
    index = mx.arange(batch, dtype=mx.int32).reshape(-1, *[1] * (places[0].ndim - 1))
    known: mx.array | None = None
    for place, size in zip(places, sizes, strict=True):
        whole = place.astype(mx.int32)
        within = (whole >= 0) & (whole < size)
        known = within if known is None else known & within
        index = index * size + mx.clip(whole, 0, size - 1)
    assert known is not None
    return mx.where(known[..., None], x.reshape(batch * math.prod(sizes), channels)[index], mx.array(0, x.dtype))
