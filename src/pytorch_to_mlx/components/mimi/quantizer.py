"""Residual vector quantization (SoundStream, arXiv:2107.03312) as in transformers/models/mimi."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.weights import Means, WeightMap

LEAST_USAGE = 1e-5


class Codebook(nn.Module):
    """Vectors of which the nearest stands for what is quantized."""

    def __init__(self, size: int, dimensions: int) -> None:
        super().__init__()
        self.embed = mx.zeros((size, dimensions))

    def distances(self, x: mx.array) -> mx.array:
        """Euclidean distances of (..., dimensions) to every vector, (..., size) float32."""
        x, embed = x.astype(mx.float32), self.embed.astype(mx.float32)
        squares = mx.square(x).sum(axis=-1, keepdims=True) - 2 * (x @ embed.T) + mx.square(embed).sum(axis=-1)
        return mx.sqrt(mx.maximum(squares, 0))


class ResidualQuantizer(nn.Module):
    """Codebooks in turn: each quantizes what those before it left over.

    Args:
        count: of codebooks.
        size, dimensions: of each.
        inputs: channels of what is encoded, which is projected first; 0 where nothing is.
        outputs: channels of what is decoded, by a projection at the end; 0 where nothing is.
    """

    def __init__(self, count: int, size: int, dimensions: int, *, inputs: int = 0, outputs: int = 0) -> None:
        super().__init__()
        self.layers = [Codebook(size, dimensions) for _ in range(count)]
        if inputs:
            self.input_proj = nn.Linear(inputs, dimensions, bias=False)
        if outputs:
            self.output_proj = nn.Linear(dimensions, outputs, bias=False)

    def encode(self, x: mx.array) -> tuple[mx.array, mx.array]:
        """(batch, time, inputs) to codes, (batch, time, count) int32, and distances to all that might have been."""
        residual, codes, distances = self.input_proj(x), [], []
        for layer in self.layers:
            distances.append(layer.distances(residual))
            codes.append(mx.argmin(distances[-1], axis=-1))
            residual = residual - layer.embed[codes[-1]]
        return mx.stack(codes, axis=-1).astype(mx.int32), mx.stack(distances, axis=2)

    def decode(self, codes: mx.array) -> mx.array:
        """Codes (batch, time, count) to (batch, time, outputs)."""
        quantized = self.layers[0].embed[codes[..., 0]]
        for place, layer in enumerate(self.layers[1:], start=1):
            quantized = quantized + layer.embed[codes[..., place]]
        return self.output_proj(quantized)


def codebook_weights(sums: str, usage: str, target: str) -> WeightMap:
    """The map of one codebook, which is kept as sums of what was quantized, and how often each vector was used."""
    return WeightMap(Means(sums, usage, f"{target}.embed", LEAST_USAGE))
