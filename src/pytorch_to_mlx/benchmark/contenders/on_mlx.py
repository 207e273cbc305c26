"""What contenders that compute in MLX share."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import mlx.core as mx
from serving import MATRIX, SEED, Contender


class MlxContender(Contender):
    """One that computes in MLX.

    Attributes:
        packages: whose versions the report tells.
    """

    packages: tuple[str, ...] = ("mlx",)

    def seed(self) -> None:
        super().seed()
        mx.random.seed(SEED)

    def probe(self) -> None:
        matrix = mx.ones((MATRIX, MATRIX))
        mx.eval(matrix @ matrix)

    def facts(self) -> dict[str, Any]:
        about = ", ".join([*(f"{name} {version(name)}" for name in self.packages), str(mx.default_device())])
        return {"about": about, "device": mx.default_device().type.name}

    def device_peak(self) -> int:
        return mx.get_peak_memory()
