"""The change of a parameter that a comparison must notice."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

PERTURBATION = 0.01


def perturbed(value: mx.array, seed: int, factor: float = 1.0) -> mx.array:
    """`value` off by noise of `factor` % of each number; zeros of the largest, or of one.

    Of packed numbers the last bit is flipped; from 100 % on, all bits are drawn.
    """
    if value.dtype == mx.uint32:
        if factor < 100:
            return value ^ 1
        return mx.array(np.random.default_rng(seed).integers(0, 2**32, value.shape, np.uint32))
    scale = mx.abs(value.astype(mx.float32))
    scale = mx.where(scale == 0, mx.where(scale.max() > 0, scale.max(), 1.0), scale)
    noise = mx.random.normal(value.shape, key=mx.random.key(seed))
    return (value.astype(mx.float32) + factor * PERTURBATION * scale * noise).astype(value.dtype)
