"""Windows, diagonals, and complex numbers of two parts."""

from __future__ import annotations

import mlx.core as mx
import numpy as np


def unfold(x: mx.array, axis: int, size: int, step: int) -> mx.array:
    """Windows of `size` elements of x along `axis`, every `step`, as `torch.Tensor.unfold`.

    Returns:
        (..., windows, ..., size): the windows where `axis` was, their elements last.
    """
    if x.ndim == 0:
        return x[None][:size]
    axis %= x.ndim
    starts = mx.arange(0, x.shape[axis] - size + 1, step)
    windows = mx.take(x, starts[:, None] + mx.arange(size), axis=axis)
    return mx.moveaxis(windows, axis + 1, -1)


def repeat_interleave(x: mx.array, repeats: mx.array, size: int, axis: int = 0) -> mx.array:
    """Each slice of x along `axis` as often as `repeats` says, as `torch.repeat_interleave(output_size=size)`."""
    ends = mx.cumsum(mx.broadcast_to(repeats, (x.shape[axis],)))
    return mx.take(x, mx.searchsorted(ends, mx.arange(size, dtype=ends.dtype), side="right"), axis=axis)


def block_diag(*matrices: mx.array) -> mx.array:
    """Matrices along the diagonal of one, as `torch.block_diag`; vectors are rows, numbers matrices of one element."""
    blocks = [each if each.ndim == 2 else each.reshape(1, each.size) for each in matrices]
    width, left, rows = sum(block.shape[1] for block in blocks), 0, []
    for block in blocks:
        rows.append(mx.pad(block, [(0, 0), (left, width - left - block.shape[1])]))
        left += block.shape[1]
    return mx.concatenate(rows)


def diag_embed(x: mx.array, offset: int = 0, axis1: int = -2, axis2: int = -1) -> mx.array:
    """Square matrices with the last axis of x on a diagonal, as `torch.diag_embed`.

    Args:
        x: (..., n).
        offset: of the diagonal, above the main one.
        axis1, axis2: axes of the result that hold the matrices.

    Returns:
        Two axes of n + |offset| elements instead of the last one.
    """
    size = x.shape[-1] + abs(offset)
    line = mx.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, abs(offset))])
    values = line[..., :, None] if offset >= 0 else line[..., None, :]
    places = mx.arange(size)
    matrices = mx.where(places[:, None] + offset == places, values, mx.zeros((), x.dtype))
    axis1, axis2 = axis1 % matrices.ndim, axis2 % matrices.ndim
    rest = iter(range(x.ndim - 1))
    order = {axis1: x.ndim - 1, axis2: x.ndim}
    return matrices.transpose([order[axis] if axis in order else next(rest) for axis in range(matrices.ndim)])


def tril_indices(rows: int, columns: int, offset: int = 0) -> mx.array:
    """Where the lower triangle of a matrix is, as `torch.tril_indices`: (2, elements), row by row."""
    return mx.array(np.stack(np.tril_indices(rows, offset, columns)).astype(np.int64))


def triu_indices(rows: int, columns: int, offset: int = 0) -> mx.array:
    """Where the upper triangle of a matrix is, as `torch.triu_indices`: (2, elements), row by row."""
    return mx.array(np.stack(np.triu_indices(rows, offset, columns)).astype(np.int64))


def complex_of(real: mx.array, imaginary: mx.array) -> mx.array:
    """`torch.complex`: infinities and nan stay in the part that they are in, unlike in real + 1j * imaginary."""
    parts = mx.broadcast_arrays(real.astype(mx.float32), imaginary.astype(mx.float32))
    return mx.stack(list(parts), axis=-1).view(mx.complex64)[..., 0]


def view_as_real(x: mx.array) -> mx.array:
    """Real and imaginary parts along a new last axis of 2, as `torch.view_as_real`."""
    return mx.stack([mx.real(x), mx.imag(x)], axis=-1)


def polar(radius: mx.array, angle: mx.array) -> mx.array:
    """The complex numbers radius (cos angle + i sin angle), as `torch.polar`."""
    return complex_of(radius * mx.cos(angle), radius * mx.sin(angle))


def angle(x: mx.array) -> mx.array:
    """The angle of complex numbers in radians, as `torch.angle`; of real ones 0 or pi, and nan of nan."""
    if mx.issubdtype(x.dtype, mx.complexfloating):
        return mx.arctan2(mx.imag(x), mx.real(x))
    x = x if mx.issubdtype(x.dtype, mx.floating) else x.astype(mx.float32)
    return mx.where(mx.isnan(x), x, mx.where(x < 0, mx.array(mx.pi, x.dtype), mx.array(0, x.dtype)))
