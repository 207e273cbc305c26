"""Norms, with recorded statistics and with those of the input."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.layers.device import linux_cpu

PART = 256  # elements that are added up in one go


class BatchNorm(nn.BatchNorm):
    """`mlx.nn.BatchNorm`, at inference as one scale and one shift, which `mx.compile` computes once, not by element."""

    def __init__(self, num_features: int, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__(num_features, eps, affine=affine)

    def __call__(self, x: mx.array) -> mx.array:
        """(..., num_features) to the same shape."""
        if self.training:
            return super().__call__(x)
        scale = mx.rsqrt(self.running_var + self.eps)
        if "weight" not in self:
            return (x - self.running_mean) * unfused(scale)
        scale = scale * self.weight
        return x * unfused(scale) + unfused(self.bias - self.running_mean * scale)


def unfused(x: mx.array) -> mx.array:
    """x with another axis in front, where `mx.compile` ends a kernel: what x is made of is then computed once."""
    return x[None]


class GroupNorm(nn.GroupNorm):
    """`mlx.nn.GroupNorm` in torch's order of channels, which keeps its digits where groups are large."""

    def __init__(self, num_groups: int, dims: int, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__(num_groups, dims, eps, affine, pytorch_compatible=True)

    def __call__(self, x: mx.array) -> mx.array:
        """(batch, *spatial, dims) to the same shape."""
        if not linux_cpu():
            return super().__call__(x)
        return group_norm(x, self.num_groups, self.get("weight"), self.get("bias"), self.eps)


def group_norm(
    x: mx.array, groups: int, weight: mx.array | None = None, bias: mx.array | None = None, eps: float = 1e-5
) -> mx.array:
    """(batch, *spatial, channels) normed by each sample's and each group of neighbouring channels' own statistics."""
    parts = mx.unflatten(x, -1, (groups, -1))
    mean, variance = moments(parts, (*range(1, x.ndim - 1), -1))
    return affine(((parts - mean) * mx.rsqrt(variance + eps)).reshape(x.shape), weight, bias)


def moments(x: mx.array, axes: Sequence[int]) -> tuple[mx.array, mx.array]:
    """Mean and variance over axes, which stay with one element.

    On the Linux CPU backend in parts: MLX adds up naively there, which over a million elements loses three digits of a
    variance (MLX 0.32.4).
    """
    if not linux_cpu():
        return mx.mean(x, axis=axes, keepdims=True), mx.var(x, axis=axes, keepdims=True)
    mean = _mean_in_parts(x, axes)
    return mean, _mean_in_parts(mx.square(x - mean), axes)


def _mean_in_parts(x: mx.array, axes: Sequence[int]) -> mx.array:
    for axis in axes:
        x = _sum_in_parts(x, axis % x.ndim) / x.shape[axis]
    return x


def _sum_in_parts(x: mx.array, axis: int) -> mx.array:
    whole = x.shape[axis] // PART * PART
    if whole <= PART:
        return mx.sum(x, axis=axis, keepdims=True)
    parts, rest = mx.split(x, [whole], axis=axis)
    sums = mx.sum(mx.unflatten(parts, axis, (-1, PART)), axis=axis + 1)
    return _sum_in_parts(sums, axis) + mx.sum(rest, axis=axis, keepdims=True)


def affine(y: mx.array, weight: mx.array | None, bias: mx.array | None) -> mx.array:
    """y weight + bias, as far as there are such."""
    y = y if weight is None else y * weight
    return y if bias is None else y + bias
