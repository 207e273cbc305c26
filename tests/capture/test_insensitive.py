"""A network whose outputs hardly move with inputs like the example's is proven further away from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from pytorch_to_mlx.capture.package import capture
from pytorch_to_mlx.capture.subject import subject_of
from pytorch_to_mlx.errors import ParityError


class Faint(nn.Module):
    """An offset, and very little of the input."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.fc, self.share = nn.Linear(4, 4), share

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.share * x) + torch.arange(4.0)


def test_it_is_given_larger_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_TO_MLX_TRUSTED", str(tmp_path / "trusted"))
    torch.manual_seed(0)
    made = capture(subject_of(Faint(1e-4), (torch.randn(1, 4),), {}, origin="faint"), tmp_path / "a")
    assert made.report.passed
    assert made.report.cases[1].alive["sensitivity"] >= 1e-3


def test_one_that_ignores_its_input_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_TO_MLX_TRUSTED", str(tmp_path / "trusted"))
    with pytest.raises(ParityError, match="do not depend"):
        capture(subject_of(Faint(0.0), (torch.randn(1, 4),), {}, origin="faint"), tmp_path / "b")
