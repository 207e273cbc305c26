"""Modules that PyTorch numbers, and axes of one element: lists of a class, and what the proof makes of both."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from pytorch_to_mlx import trust
from pytorch_to_mlx.capture.package import capture
from pytorch_to_mlx.capture.subject import subject_of


def test_a_batch_of_one_becomes_larger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(trust.STORE, str(tmp_path / "trusted"))
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv1d(4, 6, 3, padding=1), nn.ReLU(), nn.Conv1d(6, 1, 3, padding=1)).eval()
    report = capture(subject_of(layers, (torch.randn(1, 4, 9),), origin="layers"), tmp_path / "made").report
    assert report.passed
    assert [case.name for case in report.cases[2:]] == ["sizes 2, 11", "sizes 3, 15"]
    assert all(tap.kind == "relative" for case in report.cases for tap in case.taps)


class Pooled(nn.Sequential):
    """A sequence with a forward of its own, as torchvision's ASPPPooling is."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        x = input
        for layer in self:
            x = layer(x)
        return self[0](input) + x


def test_what_a_module_numbers_is_a_list_of_its_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(trust.STORE, str(tmp_path / "trusted"))
    torch.manual_seed(0)
    layers = nn.Sequential(Pooled(nn.Linear(4, 4), nn.Tanh()), nn.Linear(4, 3)).eval()
    made = capture(subject_of(layers, (torch.randn(2, 4),), origin="layers"), tmp_path / "made")
    assert made.report.passed
    assert made.generated.tensors["layers.0.layers.0.weight"] == ("0.0.weight", None)
    assert "self.layers = [nn.Linear(4, 4), nn.Tanh()]" in made.generated.source


class Padded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(nn.functional.pad(x, (2, 0), mode="reflect"))


class Residual(nn.Module):
    """What Padded returns is used as it is, and in torch's order: it is returned once."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Padded(), Padded()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.second(torch.relu(x)).flatten(1) + x.flatten(1)


def test_a_module_returns_a_value_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(trust.STORE, str(tmp_path / "trusted"))
    torch.manual_seed(0)
    made = capture(subject_of(Residual().eval(), (torch.randn(2, 4, 9),), origin="mine"), tmp_path / "made")
    assert made.report.passed
    returned = [line.split("return ")[1] for line in made.generated.source.splitlines() if "return " in line]
    assert len(returned) == 3 and not any("," in each.split("(")[0] for each in returned)
