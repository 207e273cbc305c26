"""The change of a parameter that a comparison must notice."""

from __future__ import annotations

import mlx.core as mx

PERTURBATION = 0.01


def perturbed(value: mx.array, seed: int, factor: float = 1.0) -> mx.array:
    """`value` off by noise of `factor` % of each number; zeros of the largest, or of one. Packed bits are flipped."""
    if value.dtype == mx.uint32:
        return value ^ 1
    scale = mx.abs(value.astype(mx.float32))
    scale = mx.where(scale == 0, mx.where(scale.max() > 0, scale.max(), 1.0), scale)
    noise = mx.random.normal(value.shape, key=mx.random.key(seed))
    return (value.astype(mx.float32) + factor * PERTURBATION * scale * noise).astype(value.dtype)
