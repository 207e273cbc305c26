"""What a call of a module computes twice is computed once, in a loop where layers are alike."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from pytorch_to_mlx.capture.package import Captured, capture
from pytorch_to_mlx.capture.subject import subject_of


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor, table: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.linear(x)) * table + mask


class Stack(nn.Module):
    """Gives every layer what it cuts anew each time."""

    table: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer() for _ in range(4))
        self.register_buffer("table", torch.randn(50, 8))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x, self.table[: x.size(1)], mask.unsqueeze(-1))
        return x


class Branches(nn.Module):
    """One value that enters two loops over layers and an expression, whichever comes first."""

    def __init__(self) -> None:
        super().__init__()
        self.alone = nn.Linear(8, 8)
        self.first = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        self.second = nn.Sequential(nn.Linear(8, 8), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.alone(x), self.first(x), self.second(x)], dim=-1)


class Drawn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) + torch.rand(3) * 0 + (torch.rand(3) - torch.rand(3)) * 0


def made(module: nn.Module, *inputs: torch.Tensor, folder: Path) -> Captured:
    return capture(subject_of(module.eval(), inputs), folder / "made")


@pytest.fixture(autouse=True)
def seeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_TO_MLX_TRUSTED", str(tmp_path / "trusted"))
    torch.manual_seed(0)


def test_what_a_loop_computes_anew_stands_before_it(tmp_path: Path) -> None:
    captured = made(Stack(), torch.randn(2, 9, 8), torch.randn(2, 9), folder=tmp_path)
    assert captured.report.passed
    assert "for layer in self.layers:" in captured.generated.source
    assert captured.generated.source.count("self.table[") == 1


def test_a_value_outlives_the_loops_that_start_with_it(tmp_path: Path) -> None:
    captured = made(Branches(), torch.randn(5, 8), folder=tmp_path)
    assert captured.report.passed
    assert captured.generated.source.count("for layer in") == 2


def test_what_is_drawn_is_drawn_each_time(tmp_path: Path) -> None:
    captured = made(Drawn(), torch.randn(3), folder=tmp_path)
    assert captured.generated.source.count("mx.random") == 3
