"""Normalization with recorded statistics."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn


class BatchNorm(nn.Module):
    """Batch norm at inference over the last axis, as one scale and one shift; torch's names of what it holds."""

    def __init__(self, channels: int, *, affine: bool = True, eps: float = 1e-5) -> None:
        super().__init__()
        if affine:
            self.weight = mx.ones((channels,))
            self.bias = mx.zeros((channels,))
        self.running_mean = mx.zeros((channels,))
        self.running_var = mx.ones((channels,))
        self._eps = eps

    def __call__(self, x: mx.array) -> mx.array:
        """(..., channels) to the same shape."""
        scale = mx.rsqrt(self.running_var + self._eps)
        if "weight" not in self:
            return (x - self.running_mean) * scale
        scale = scale * self.weight
        return x * scale + (self.bias - self.running_mean * scale)
