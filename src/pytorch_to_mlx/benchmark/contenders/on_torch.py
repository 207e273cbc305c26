"""What contenders that compute in PyTorch share."""

from __future__ import annotations

from typing import Any

import torch
from serving import MATRIX, SEED, Contender, Setting, Stopwatch


class TorchContender(Contender):
    """One that computes in PyTorch."""

    def __init__(self, setting: Setting, watch: Stopwatch) -> None:
        super().__init__(setting, watch)
        torch.set_num_threads(setting.threads)

    def seed(self) -> None:
        super().seed()
        torch.manual_seed(SEED)

    def probe(self) -> None:
        matrix = torch.ones(MATRIX, MATRIX)
        torch.mm(matrix, matrix)

    def facts(self) -> dict[str, Any]:
        return {"about": f"torch {torch.__version__}, {torch.get_num_threads()} threads, cpu", "device": "cpu"}
