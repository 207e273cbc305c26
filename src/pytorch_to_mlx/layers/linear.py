"""A linear layer that is quick for the few rows of a decoding step."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.layers.device import linux_cpu

MANY_ROWS = 64  # from here on the weight on the right is the faster order


class Linear(nn.Linear):
    """`nn.Linear`, which on the Linux CPU backend reads its weight faster for few rows.

    OpenBLAS multiplies a matrix by few vectors 1.3 to 1.6 times as fast with the matrix on the left: at 2 rows of 1024
    float32 values it reads 8 to 9 GB/s instead of 5.5 to 6.5, where numpy sums the same memory at 9.5 (2 cores,
    OpenBLAS 0.3.21). In float16, and without OpenBLAS, both orders take the same time.
    """

    def __call__(self, x: mx.array) -> mx.array:
        """(..., in) to (..., out)."""
        rows = x.size // x.shape[-1]
        if rows >= MANY_ROWS or not linux_cpu():
            return super().__call__(x)
        y = (self.weight @ x.reshape(rows, -1).T).T.reshape(*x.shape[:-1], -1)
        return y + self.bias if "bias" in self else y
