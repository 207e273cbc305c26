"""From hidden states to tokens: the nearest vector of a codebook (V1), or three levels in each of 8 dimensions (V2)."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.layers.elementwise import tanh
from pytorch_to_mlx.parity import tap

LEVELS, DIMENSIONS = 3, 8
FSQ_SIZE = LEVELS**DIMENSIONS
# Upstream's bound keeps the outermost levels just inside of what rounds to them.
FSQ_BOUND = 0.9990000128746033


class EuclideanCodebook(nn.Module):
    """s3tokenizer/model.py, EuclideanCodebook: the vector nearest to a hidden state scaled to unit length."""

    def __init__(self, dimensions: int, size: int) -> None:
        super().__init__()
        self.embed = mx.zeros((size, dimensions))

    def distances(self, hidden: mx.array) -> mx.array:
        """Squared distances of (..., dimensions) to every vector, (..., size) float32."""
        x = hidden.astype(mx.float32)
        x = x / mx.maximum(mx.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
        embed = self.embed.astype(mx.float32)
        return mx.square(x).sum(axis=-1, keepdims=True) - 2 * (x @ embed.T) + mx.square(embed).sum(axis=-1)

    def __call__(self, hidden: mx.array) -> mx.array:
        """(..., dimensions) to tokens (...) int32."""
        return mx.argmin(tap("distances", self.distances(hidden)), axis=-1).astype(mx.int32)


class FiniteScalarCodebook(nn.Module):
    """s3tokenizer/model_v2.py, FSQCodebook (Mentzer et al. 2023, arXiv:2309.15505): 8 ternary digits make a token."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.project_down = nn.Linear(dimensions, DIMENSIONS)

    def levels(self, hidden: mx.array) -> mx.array:
        """What is rounded to digits: (..., dimensions) to (..., 8) float32 within -1 to 1."""
        return tanh(self.project_down(hidden).astype(mx.float32)) * FSQ_BOUND

    def __call__(self, hidden: mx.array) -> mx.array:
        """(..., dimensions) to tokens (...) int32, the first digit the lowest."""
        digits = mx.round(tap("levels", self.levels(hidden))) + 1
        powers = mx.array([LEVELS**i for i in range(DIMENSIONS)], mx.float32)
        return (digits * powers).sum(axis=-1).astype(mx.int32)


class Quantizer(nn.Module):
    """The codebook under upstream's name."""

    def __init__(self, codebook: EuclideanCodebook | FiniteScalarCodebook) -> None:
        super().__init__()
        self.codebook = codebook

    def __call__(self, hidden: mx.array) -> mx.array:
        """(..., dimensions) to tokens (...) int32."""
        return self.codebook(hidden)
