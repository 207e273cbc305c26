"""Norms over (batch, *spatial, channels)."""

from __future__ import annotations

import math

import mlx.core as mx


def batch_norm(
    x: mx.array,
    mean: mx.array | None = None,
    variance: mx.array | None = None,
    weight: mx.array | None = None,
    bias: mx.array | None = None,
    eps: float = 1e-5,
) -> mx.array:
    """`torch.nn.functional.batch_norm`: with recorded statistics (channels,), else with those of the batch."""
    if mean is None or variance is None:
        axes = tuple(range(x.ndim - 1))
        mean, variance = mx.mean(x, axis=axes), mx.var(x, axis=axes)
    return _affine((x - mean) * mx.rsqrt(variance + eps), weight, bias)


def group_norm(
    x: mx.array, groups: int, weight: mx.array | None = None, bias: mx.array | None = None, eps: float = 1e-5
) -> mx.array:
    """`torch.nn.functional.group_norm`: statistics of each sample and each group of neighbouring channels."""
    batch, *spatial, channels = x.shape
    parts = x.reshape(batch, math.prod(spatial), groups, channels // groups)
    mean = mx.mean(parts, axis=(1, 3), keepdims=True)
    variance = mx.var(parts, axis=(1, 3), keepdims=True)
    y = ((parts - mean) * mx.rsqrt(variance + eps)).reshape(batch, *spatial, channels)
    return _affine(y, weight, bias)


def instance_norm(
    x: mx.array, weight: mx.array | None = None, bias: mx.array | None = None, eps: float = 1e-5
) -> mx.array:
    """`torch.nn.functional.instance_norm` with the input's own statistics: of each sample and channel."""
    axes = tuple(range(1, x.ndim - 1))
    mean, variance = mx.mean(x, axis=axes, keepdims=True), mx.var(x, axis=axes, keepdims=True)
    return _affine((x - mean) * mx.rsqrt(variance + eps), weight, bias)


def layer_norm(
    x: mx.array, axes: int, weight: mx.array | None = None, bias: mx.array | None = None, eps: float = 1e-5
) -> mx.array:
    """`torch.nn.functional.layer_norm` over the last `axes` axes; weight and bias have their shape."""
    last = tuple(range(x.ndim - axes, x.ndim))
    mean, variance = mx.mean(x, axis=last, keepdims=True), mx.var(x, axis=last, keepdims=True)
    return _affine((x - mean) * mx.rsqrt(variance + eps), weight, bias)


def _affine(y: mx.array, weight: mx.array | None, bias: mx.array | None) -> mx.array:
    y = y if weight is None else y * weight
    return y if bias is None else y + bias
