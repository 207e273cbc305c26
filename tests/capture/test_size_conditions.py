"""Sizes that a model branches on: the captured model says so instead of computing something else."""

from __future__ import annotations

import math
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
    """Takes a size for a number in a way that cannot be kept from it, so that torch holds the size to that number."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = 5 * len(range(x.shape[1] // 4))
        return self.head(nn.functional.interpolate(x.swapaxes(1, 2), size).swapaxes(1, 2))


def test_a_size_that_was_taken_for_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Far above the sizes that conditions are read off from the start, too."""
    monkeypatch.setenv(trust.STORE, str(tmp_path / "trusted"))
    torch.manual_seed(0)
    made = capture(subject_of(Stretched(), (torch.randn(3, 900, 3),), origin="mine"), tmp_path / "made")
    assert made.report.passed and made.settings.sizes == {"length": Allowed(900, 903)}
    with pytest.raises(UsageError, match="length is 904; the model was captured for 900 to 903, and"):
        load(made.folder)(mx.zeros((2, 904, 3)))


class Whole(nn.Module):
    """Sizes by way of fractions, `int` and `round`; `int` as a type, too."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        length = int(x.shape[1])
        sizes = [int(length * 1.25), math.ceil(length / 3), round(length * 0.7), math.floor(length / 3), int("5")]
        assert isinstance(sizes[-1], int) and int is not float
        x = x.swapaxes(1, 2)
        return torch.cat([self.head(nn.functional.interpolate(x, size).swapaxes(1, 2)) for size in sizes], 1)


def test_whole_numbers_of_sizes_stay_dynamic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(trust.STORE, str(tmp_path / "trusted"))
    torch.manual_seed(0)
    made = capture(subject_of(Whole(), (torch.randn(3, 16, 3),), origin="mine"), tmp_path / "made")
    assert made.report.passed and not made.settings.sizes and len(made.report.cases) == 4
    model, original = load(made.folder), Whole()
    for length in (7, 10, 23, 40):
        assert model(mx.zeros((2, length, 3))).shape == original(torch.zeros(2, length, 3)).shape
    assert "int" not in globals()


class Square(nn.Module):
    """The side of a square of tokens, and a size by way of a logarithm if `logarithm`."""

    def __init__(self, logarithm: bool) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)
        self.logarithm = logarithm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        side = int(x.shape[1] ** 0.5)
        if self.logarithm:
            side = int(2 ** (math.log2(x.shape[1]) / 2))
        return self.head(x.reshape(x.shape[0], side, side, 3).sum(2))


@pytest.mark.parametrize("logarithm", [False, True])
def test_sides_of_squares(logarithm: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no form in Python's own terms is a number, as the example has it."""
    monkeypatch.setenv(trust.STORE, str(tmp_path / "trusted"))
    torch.manual_seed(0)
    made = capture(subject_of(Square(logarithm), (torch.randn(3, 16, 3),), origin="mine"), tmp_path / "made")
    assert made.report.passed
    assert ("int(length**0.5)" in made.generated.source) is not logarithm, made.generated.source


def test_which_numbers_are_allowed() -> None:
    assert str(Allowed(9, 9)) == "9"
    assert 8 in Allowed(step=4) and 6 not in Allowed(step=4) and str(Allowed(step=4)) == "a multiple of 4"
    assert 7 in Allowed(3, step=2) and 8 not in Allowed(3, step=2) and str(Allowed(3)) == "3 or more"
