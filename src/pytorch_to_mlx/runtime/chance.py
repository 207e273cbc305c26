"""Random numbers of distributions that MLX lacks, by MLX's own generator: torch draws other ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import mlx.core as mx


def dropout(x: mx.array, p: float) -> mx.array:
    """`torch.nn.functional.dropout` in training: nothing with probability p, else x / (1 - p)."""
    return dropout_with_mask(x, p)[0]


def dropout_with_mask(x: mx.array, p: float) -> tuple[mx.array, mx.array]:
    """`torch.native_dropout`: what `dropout` gives, and which elements stayed."""
    if p == 1:
        return mx.zeros_like(x), mx.zeros(x.shape, mx.bool_)
    mask = mx.random.bernoulli(1 - p, x.shape)
    return mx.where(mask, x / (1 - p), 0).astype(x.dtype), mask


def random_exponential(shape: Sequence[int], rate: float = 1.0, dtype: mx.Dtype = mx.float32) -> mx.array:
    """`Tensor.exponential_`."""
    return -mx.log1p(-mx.random.uniform(shape=shape, dtype=dtype)) / rate


def random_cauchy(
    shape: Sequence[int], median: float = 0.0, sigma: float = 1.0, dtype: mx.Dtype = mx.float32
) -> mx.array:
    """`Tensor.cauchy_`."""
    return median + sigma * mx.tan(math.pi * (mx.random.uniform(shape=shape, dtype=dtype) - 0.5))


def random_log_normal(
    shape: Sequence[int], mean: float = 1.0, std: float = 2.0, dtype: mx.Dtype = mx.float32
) -> mx.array:
    """`Tensor.log_normal_`."""
    return mx.exp(mx.random.normal(shape=shape, dtype=dtype, loc=mean, scale=std))


def random_geometric(shape: Sequence[int], p: float, dtype: mx.Dtype = mx.float32) -> mx.array:
    """`Tensor.geometric_`: how many trials until one succeeds."""
    trials = mx.ceil(mx.log1p(-mx.random.uniform(shape=shape)) / math.log1p(-p))
    return mx.maximum(trials, 1).astype(dtype)


def random_multinomial(weights: mx.array, count: int, replacement: bool = False) -> mx.array:
    """`torch.multinomial`: `count` places of the last axis, by their weights; without replacement, none twice."""
    logits = mx.log(weights)
    if replacement:
        drawn = mx.random.categorical(logits, num_samples=count)
    else:  # the largest of Gumbel's are a sample
        drawn = mx.argsort(-(logits + mx.random.gumbel(logits.shape)), axis=-1)[..., :count]
    return drawn.astype(mx.int64)
