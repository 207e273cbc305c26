"""Elements of images rearranged: between channels and space, and windows as columns."""

from __future__ import annotations

import math
from collections.abc import Sequence

import mlx.core as mx


def pixel_shuffle(x: mx.array, upscale_factor: int) -> mx.array:
    """(..., height, width, channels · r²) as (..., height · r, width · r, channels), as `torch.nn.PixelShuffle`."""
    *batch, height, width, channels = x.shape
    r = upscale_factor
    rows = math.prod(batch)
    split = x.reshape(rows, height, width, channels // (r * r), r, r).transpose(0, 1, 4, 2, 5, 3)
    return split.reshape(*batch, height * r, width * r, channels // (r * r))


def pixel_unshuffle(x: mx.array, downscale_factor: int) -> mx.array:
    """(..., height · r, width · r, channels) as (..., height, width, channels · r²), as `torch.nn.PixelUnshuffle`."""
    *batch, height, width, channels = x.shape
    r = downscale_factor
    rows = math.prod(batch)
    split = x.reshape(rows, height // r, r, width // r, r, channels).transpose(0, 1, 3, 5, 2, 4)
    return split.reshape(*batch, height // r, width // r, channels * r * r)


def channel_shuffle(x: mx.array, groups: int) -> mx.array:
    """Channels, the last axis, in the order of their places within `groups`, as `torch.nn.ChannelShuffle`."""
    return x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups).swapaxes(-1, -2).reshape(x.shape)


def im2col(
    x: mx.array,
    kernel_size: Sequence[int],
    dilation: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    stride: Sequence[int] = (1, 1),
) -> mx.array:
    """The windows of an image as columns, as `torch.nn.functional.unfold`.

    Args:
        x: (..., channels, height, width), as PyTorch has it.

    Returns:
        (..., channels · kernel height · kernel width, windows).
    """
    *lead, _, _ = x.shape
    none = [(0, 0)] * len(lead)
    x = mx.contiguous(mx.pad(x, [*none, *((width, width) for width in padding)]))
    size, (high, wide) = x.shape[-2:], kernel_size
    counts = _counts(size, kernel_size, dilation, (0, 0), stride)
    planes = x.size // (size[0] * size[1])
    width = size[1]
    windows = mx.as_strided(
        x,
        (planes, high, wide, *counts),
        (size[0] * width, dilation[0] * width, dilation[1], stride[0] * width, stride[1]),
    )
    return windows.reshape(*lead[:-1], lead[-1] * high * wide, counts[0] * counts[1])


def col2im(
    x: mx.array,
    output_size: Sequence[int],
    kernel_size: Sequence[int],
    dilation: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    stride: Sequence[int] = (1, 1),
) -> mx.array:
    """Columns as an image, added up where windows overlap, as `torch.nn.functional.fold`.

    Args:
        x: (..., channels · kernel height · kernel width, windows).

    Returns:
        (..., channels, height, width), as PyTorch has it.
    """
    high, wide = kernel_size
    counts = _counts(output_size, kernel_size, dilation, padding, stride)
    image = x.reshape(math.prod(x.shape[:-1]) // (high * wide), high, wide, *counts)
    # Columns of windows first, then rows: (planes, high, rows, width), (planes, height, width).
    image = _added(image.transpose(0, 1, 3, 2, 4), output_size[1], dilation[1], padding[1], stride[1])
    image = _added(image.transpose(0, 3, 1, 2), output_size[0], dilation[0], padding[0], stride[0])
    return image.swapaxes(1, 2).reshape(*x.shape[:-2], x.shape[-2] // (high * wide), *output_size)


def _counts(
    size: Sequence[int], kernel: Sequence[int], dilation: Sequence[int], padding: Sequence[int], stride: Sequence[int]
) -> tuple[int, ...]:
    """How many windows there are along each axis."""
    each = zip(size, kernel, dilation, padding, stride, strict=True)
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, d, p, s in each)


def _added(x: mx.array, size: int, dilation: int, padding: int, stride: int) -> mx.array:
    """(..., taps, windows) as (..., size), added up where windows overlap."""
    taps, count = x.shape[-2:]
    if stride == taps and dilation == 1:
        line = x.swapaxes(-1, -2).flatten(-2)
        missing = size + 2 * padding - line.shape[-1]
        line = mx.pad(line, [(0, 0)] * (line.ndim - 1) + [(0, missing)]) if missing else line
        return line[..., padding : padding + size]
    line = mx.zeros((*x.shape[:-2], size + 2 * padding), x.dtype)
    for tap in range(taps):
        start = tap * dilation
        places = slice(start, start + (count - 1) * stride + 1, stride)
        line[..., places] = line[..., places] + x[..., tap, :]
    return line[..., padding : padding + size]
