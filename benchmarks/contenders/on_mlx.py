"""What contenders that compute in MLX share."""

from __future__ import annotations

import mlx.core as mx
from serving import MATRIX, Contender


class MlxContender(Contender):
    """One that computes in MLX."""

    def probe(self) -> None:
        matrix = mx.ones((MATRIX, MATRIX))
        mx.eval(matrix @ matrix)

    def device_peak(self) -> int:
        return mx.get_peak_memory()
