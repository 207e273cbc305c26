"""Where torch cannot trace a model with all sizes dynamic, the batch's is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from pytorch_to_mlx.capture import export as exporting


def test_the_batch_stays_dynamic(monkeypatch: pytest.MonkeyPatch) -> None:
    traced, tried = exporting._export, []

    def slow(module: nn.Module, args: Any, kwargs: Any, dynamic: str) -> Any:
        tried.append(dynamic)
        if dynamic == "all":
            raise TimeoutError("it takes more than a second")
        return traced(module, args, kwargs, dynamic)

    monkeypatch.setattr(exporting, "_export", slow)
    program = exporting.export(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), (torch.randn(1, 3, 8, 8),))
    (image,) = program.inputs
    batch, *rest = image.meta["val"].shape
    assert isinstance(batch, torch.SymInt)
    assert rest == [3, 8, 8]
    assert tried == ["all", "batch"]  # what took too long is not tried again
    assert "sizes but that of the batch are fixed" in program.notes[0]
    assert "more than a second" in program.notes[0]
