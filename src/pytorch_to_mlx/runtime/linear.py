"""Products that MLX has for floating-point numbers only, products of three, norms over several axes, distances."""

from __future__ import annotations

import mlx.core as mx
import numpy as np


def integer_matmul(a: mx.array, b: mx.array) -> mx.array:
    """`a @ b` of integers, as `torch.matmul`; (..., n, k) and (..., k, m) take the memory of (..., n, k, m)."""
    if b.ndim == 1:
        total = mx.sum(a * b, axis=-1)
    elif a.ndim == 1:
        total = mx.sum(a[:, None] * b, axis=-2)
    else:
        total = mx.sum(a[..., :, :, None] * b[..., None, :, :], axis=-2)
    return total.astype(a.dtype)  # MLX adds small integers as larger ones


def integer_tensordot(a: mx.array, b: mx.array, axes: list[list[int]]) -> mx.array:
    """`torch.tensordot` of integers: sums over `axes[0]` of a and `axes[1]` of b."""
    left, right = ([axis % x.ndim for axis in listed] for x, listed in zip((a, b), axes, strict=True))
    free_a = [axis for axis in range(a.ndim) if axis not in left]
    free_b = [axis for axis in range(b.ndim) if axis not in right]
    shape = [a.shape[axis] for axis in free_a] + [b.shape[axis] for axis in free_b]
    size = int(np.prod([a.shape[axis] for axis in left]))
    rows = a.transpose(free_a + left).reshape(-1, size)
    columns = b.transpose(right + free_b).reshape(size, -1)
    return integer_matmul(rows, columns).reshape(shape)


def grouped_mm(x: mx.array, weight: mx.array, ends: mx.array) -> mx.array:
    """Each row times the matrix of its group, as `torch.nn.functional.grouped_mm` of rows in order of their groups.

    Args:
        x: (rows, inputs).
        weight: (groups, inputs, outputs).
        ends: (groups,), the row where each group ends; rows behind the last are zeros in the result.

    Returns:
        (rows, outputs).
    """
    group = mx.sum(mx.arange(len(x))[:, None] >= ends, axis=1)
    places = mx.minimum(group, len(weight) - 1).astype(mx.uint32)
    dtype = x.dtype
    if mx.default_device().type == mx.DeviceType.cpu:  # where MLX 0.32.4 gathers matrices of float32 alone
        x, weight = x.astype(mx.float32), weight.astype(mx.float32)
    y = mx.gather_mm(x[:, None], weight, rhs_indices=places, sorted_indices=True)[:, 0]
    return mx.where((group < len(weight))[:, None], y, 0).astype(dtype)


def bilinear(a: mx.array, b: mx.array, weight: mx.array, bias: mx.array | None = None) -> mx.array:
    """a^T W b for each matrix of `weight`, as `torch.nn.functional.bilinear`.

    Args:
        a: (..., n).
        b: (..., m).
        weight: (outputs, n, m).
        bias: (outputs,).

    Returns:
        (..., outputs).
    """
    if mx.issubdtype(a.dtype, mx.inexact):
        rows = (a[..., None, None, :] @ weight).squeeze(-2)
    else:
        rows = integer_matmul(a[..., None, None, :], weight).squeeze(-2)
    y = mx.sum(rows * b[..., None, :], axis=-1).astype(a.dtype)
    return y if bias is None else y + bias


def rms_norm(x: mx.array, axes: int, weight: mx.array | None = None, eps: float = 1e-5) -> mx.array:
    """`torch.nn.functional.rms_norm` over the last `axes` axes, whose shape `weight` has."""
    flat = None if weight is None else weight.reshape(-1)
    return mx.fast.rms_norm(x.flatten(-axes), flat, eps).reshape(x.shape)


def cdist(a: mx.array, b: mx.array, p: float = 2.0) -> mx.array:
    """The distance of each row of a from each of b, as `torch.cdist`.

    Args:
        a: (..., n, width).
        b: (..., m, width).
        p: of the norm.

    Returns:
        (..., n, m).
    """
    # As in torch, many distances come from a product of matrices, which is less exact but needs no (n, m, width).
    if p == 2 and max(a.shape[-2], b.shape[-2]) > 25:
        squares = mx.sum(a * a, axis=-1)[..., :, None] + mx.sum(b * b, axis=-1)[..., None, :]
        return mx.sqrt(mx.maximum(squares - 2 * (a @ b.swapaxes(-1, -2)), 0))
    return _norm(a[..., :, None, :] - b[..., None, :, :], p)


def pdist(x: mx.array, p: float = 2.0) -> mx.array:
    """The distance of each two rows of x, as `torch.nn.functional.pdist`: of (n, width), (n (n - 1) / 2,)."""
    first, second = (mx.array(each) for each in np.triu_indices(x.shape[0], 1))
    return _norm(x[first] - x[second], p)


def _norm(x: mx.array, p: float) -> mx.array:
    """Of the last axis."""
    if x.shape[-1] == 0 or x.size == 0:
        return mx.zeros(x.shape[:-1], x.dtype)
    if p == 0:
        return mx.sum(x != 0, axis=-1).astype(x.dtype)
    if p == 1:
        return mx.sum(mx.abs(x), axis=-1)
    if p == 2:
        return mx.sqrt(mx.sum(mx.square(x), axis=-1))
    if p == mx.inf:
        return mx.max(mx.abs(x), axis=-1)
    return mx.sum(mx.abs(x) ** p, axis=-1) ** (1 / p)
