"""What contenders that compute in MLX share."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import mlx.core as mx
from serving import MATRIX, Contender


class MlxContender(Contender):
    """One that computes in MLX.

    Attributes:
        packages: whose versions the report tells.
    """

    packages: tuple[str, ...] = ("mlx",)

    def probe(self) -> None:
        matrix = mx.ones((MATRIX, MATRIX))
        mx.eval(matrix @ matrix)

    def facts(self) -> dict[str, Any]:
        return {"about": ", ".join([*(f"{name} {version(name)}" for name in self.packages), str(mx.default_device())])}

    def device_peak(self) -> int:
        return mx.get_peak_memory()
