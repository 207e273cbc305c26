"""Sizes that a model branches on: the captured model says so instead of computing something else."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import pytest
import torch
from torch import nn

from pytorch_to_mlx import load, trust
from pytorch_to_mlx.capture.package import capture
from pytorch_to_mlx.capture.subject import subject_of
from pytorch_to_mlx.captured import Allowed
from pytorch_to_mlx.errors import UsageError


class Branching(nn.Module):
    """Even lengths up to 20 are added in pairs, others are left as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] % 2 == 0 and x.shape[1] <= 20:
            x = x[:, ::2] + x[:, 1::2]
        return self.head(x)


def test_other_branches_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(trust.STORE, str(tmp_path / "trusted"))
    torch.manual_seed(0)
    made = capture(subject_of(Branching(), (torch.randn(3, 8, 3),), origin="mine"), tmp_path / "made")
    assert made.report.passed and [case.name for case in made.report.cases[2:]] == ["sizes 4, 10", "sizes 5, 14"]
    assert made.settings.sizes == {"length": Allowed(4, 20, 2)}
    model = load(made.folder)
    assert model(mx.zeros((2, 18, 3))).shape == (2, 9, 3)
    for length in (9, 22):
        with pytest.raises(UsageError, match=f"length is {length}; the model was captured for 4 to 20 in steps of 2"):
            model(mx.zeros((2, length, 3)))


class Stretched(nn.Module):
    """Takes a size for a number, which torch then holds it to."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = int(x.shape[1] * 1.25)
        return self.head(nn.functional.interpolate(x.swapaxes(1, 2), size).swapaxes(1, 2))


def test_a_size_that_was_taken_for_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Far above the sizes that conditions are read off from the start, too."""
    monkeypatch.setenv(trust.STORE, str(tmp_path / "trusted"))
    torch.manual_seed(0)
    made = capture(subject_of(Stretched(), (torch.randn(3, 900, 3),), origin="mine"), tmp_path / "made")
    assert made.report.passed and made.settings.sizes == {"length": Allowed(900, 900)}
    with pytest.raises(UsageError, match="length is 901; the model was captured for 900, and"):
        load(made.folder)(mx.zeros((2, 901, 3)))


def test_which_numbers_are_allowed() -> None:
    assert 8 in Allowed(step=4) and 6 not in Allowed(step=4) and str(Allowed(step=4)) == "a multiple of 4"
    assert 7 in Allowed(3, step=2) and 8 not in Allowed(3, step=2) and str(Allowed(3)) == "3 or more"
