"""Norms over (batch, *spatial, channels)."""

from __future__ import annotations

import mlx.core as mx

from pytorch_to_mlx.layers.normalization import affine, moments


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
        mean, variance = moments(x, axes)
    return affine((x - mean) * mx.rsqrt(variance + eps), weight, bias)


def instance_norm(
    x: mx.array, weight: mx.array | None = None, bias: mx.array | None = None, eps: float = 1e-5
) -> mx.array:
    """`torch.nn.functional.instance_norm` with the input's own statistics: of each sample and channel."""
    axes = tuple(range(1, x.ndim - 1))
    mean, variance = moments(x, axes)
    return affine((x - mean) * mx.rsqrt(variance + eps), weight, bias)


def layer_norm(
    x: mx.array, axes: int, weight: mx.array | None = None, bias: mx.array | None = None, eps: float = 1e-5
) -> mx.array:
    """`torch.nn.functional.layer_norm` over the last `axes` axes; weight and bias have their shape."""
    last = tuple(range(x.ndim - axes, x.ndim))
    mean, variance = moments(x, last)
    return affine((x - mean) * mx.rsqrt(variance + eps), weight, bias)
