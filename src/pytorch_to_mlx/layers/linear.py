"""Linear layers, quick for the few rows of a decoding step."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.layers.cores import on_each_core
from pytorch_to_mlx.layers.device import linux_cpu

FEW_ROWS = 8  # up to here the weight is read in tiles
MANY_ROWS = 64  # from here on the weight on the right is the faster order
TILE = (
    300_000  # products: OpenBLAS does not pack matrices of less than a million of them, which costs more than reading
)


class Linear(nn.Linear):
    """`nn.Linear`, which on the Linux CPU backend reads its weight faster for few rows.

    Packing is what a product of a matrix with few vectors waits for in OpenBLAS (0.3.21, 2 cores, 2 rows of 1024
    float32 values): in tiles too small for it each core reads its half of the weight at 10 GB/s, which is what numpy
    sums memory at; with packing, and the weight on the left, both read at 8 to 9 GB/s together, on the right at 5.5 to
    6.5. In float16, and without OpenBLAS, all take the same time.
    """

    def __call__(self, x: mx.array) -> mx.array:
        """(..., in) to (..., out)."""
        if not linux_cpu():
            return super().__call__(x)
        y = _product(x, self.weight)
        return y + self.bias if "bias" in self else y  # `addmm` first spreads the bias, which takes longer


class Embedding(nn.Embedding):
    """`nn.Embedding`, whose table is as quick a linear layer as `Linear`."""

    def as_linear(self, x: mx.array) -> mx.array:
        """(..., dimensions) to (..., vocabulary)."""
        return _product(x, self.weight) if linux_cpu() else super().as_linear(x)


def _product(x: mx.array, weight: mx.array) -> mx.array:
    """(..., in) and (out, in) to (..., out), on the Linux CPU backend."""
    rows = x.size // x.shape[-1]
    if rows >= MANY_ROWS:
        return x @ weight.T
    flat = x.reshape(rows, -1)
    tiles = _tiles(weight, rows) if rows <= FEW_ROWS and weight.dtype == mx.float32 else None
    parts = None if tiles is None else on_each_core(lambda part: flat @ part, tiles)
    if parts is None:
        y = (weight @ flat.T).T
    else:
        y = parts.swapaxes(0, 1).reshape(rows, -1)
        if rest := len(weight) - y.shape[1]:
            y = mx.concatenate([y, flat @ weight[-rest:].T], axis=1)
    return y.reshape(*x.shape[:-1], -1)


def _tiles(weight: mx.array, rows: int) -> mx.array | None:
    """The weight (out, in) as (tiles, in, height), but for what is left of its last rows; none if it is one tile."""
    inner = weight.shape[1]
    height = max(1, TILE // (rows * inner))
    count = len(weight) // height
    return weight[: count * height].reshape(count, height, inner).swapaxes(1, 2) if count > 1 else None
