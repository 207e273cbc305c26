"""Rotary positions (Su et al. 2021, arXiv:2104.09864) on the halves of each head, as in transformers/models/llama.

Angles and their sines are computed once for all layers, in float32: `mx.fast.rope` would do it in every layer, and on
Metal with sines too coarse for a limit of 1e-5.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.components.decoder.config import Llama3Scaling


class Rotation(NamedTuple):
    """What turns the heads at some positions: `cos` (T, 1, D/2), `sin` (T, 2, D/2) with the sign of each half."""

    cos: mx.array
    sin: mx.array

    def __call__(self, heads: mx.array) -> mx.array:
        """Turn queries or keys (B, heads, T, D)."""
        halves = heads.reshape(*heads.shape[:-1], 2, -1)
        return _turn(halves, halves[..., ::-1, :], self.cos, self.sin).reshape(heads.shape)


@partial(mx.compile, shapeless=True)
def _turn(halves: mx.array, swapped: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
    return halves * cos + swapped * sin


def inverse_frequencies(head_dim: int, theta: float, scaling: Llama3Scaling | None) -> np.ndarray:
    """Radians that each pair turns from one position to the next, (head_dim / 2,) float32."""
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    # Rounded to float32 where upstream rounds: at position 500 one unit in the last place is 3e-5 radians.
    rates = np.float32(1) / (np.float64(theta) ** exponents.astype(np.float64)).astype(np.float32)
    return rates if scaling is None else _llama3(rates, scaling)


def _llama3(rates: np.ndarray, scaling: Llama3Scaling) -> np.ndarray:
    """Slow pairs turn `factor` times slower, fast ones as before, those between by interpolation (Llama 3.1)."""
    f32 = np.float32
    wavelengths = f32(2 * np.pi) / rates
    context = scaling.original_max_position_embeddings
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    smooth = (f32(context) / wavelengths - f32(low)) / f32(high - low)
    between = (1 - smooth) * rates / f32(scaling.factor) + smooth * rates
    slow = np.where(wavelengths > f32(context / low), rates / f32(scaling.factor), rates)
    return np.where((wavelengths <= f32(context / low)) & (wavelengths >= f32(context / high)), between, slow)


def rotation(rates: mx.array, start: int, count: int, dtype: mx.Dtype) -> Rotation:
    """The rotation of positions `start` to `start + count`, for heads of type `dtype`."""
    angles = mx.arange(start, start + count, dtype=mx.float32)[:, None] * rates
    sin = mx.sin(angles)
    return Rotation(mx.cos(angles)[:, None].astype(dtype), mx.stack([-sin, sin], axis=1).astype(dtype))
