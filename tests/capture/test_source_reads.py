"""The generated source has the names of the original, and no variables that a person would leave out."""

from __future__ import annotations

import torch

from pytorch_to_mlx.capture.export import export
from pytorch_to_mlx.capture.generate import generate

X = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))


def written(module: torch.nn.Module, *args: torch.Tensor) -> str:
    return generate(export(module, args)).source


class Split(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        left, right = x.split(3, dim=1)
        whole = x.chunk(2, dim=-1)
        return torch.cat((left * right, left)), whole[0] * whole[1]


class Masked(torch.nn.Module):
    def forward(self, x: torch.Tensor, cache: None = None, mask: torch.Tensor | None = None) -> torch.Tensor:
        return x * 2 if mask is None else x * 2 * mask


class Caller(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm = Masked(), torch.nn.LayerNorm(8)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.norm(self.inner(x, mask=mask if torch.compiler.is_exporting() else None))


class Mixer(torch.nn.Module):
    """A convolution between layers: what turns its image stands within the call."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)
        self.conv1d = torch.nn.Conv1d(8, 8, 3, padding=1)
        self.scale = torch.nn.Parameter(torch.ones(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1d(self.first(x).transpose(1, 2))
        x = x * self.scale[None, :, None] + x.cumsum(-1)
        return self.last(x.transpose(1, 2))


class Block(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mixer = Mixer()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.mixer(x)


def test_names_of_parts() -> None:
    """Parts are named where they are assigned, or by the whole."""
    source = written(Split(), X)
    assert "left, right = mx.split(" in source, source
    assert "whole, whole_2 = mx.split(" in source and "getitem" not in source, source


def test_an_argument_that_eager_mode_does_without() -> None:
    """It has its own name, not that of the first argument that is None."""
    source = written(Caller(), X, torch.ones(2, 6, 1))
    assert "def __call__(self, x, mask):" in source and "cache" not in source, source


def test_what_is_returned_at_once_has_no_name() -> None:
    """`y = f(x)` and `return y` are one line."""
    assert "return self.norm(" in written(Caller(), X, torch.ones(2, 6, 1))


def test_a_call_stays_whole() -> None:
    """Nobody else calls the layers of a module."""
    source = written(Block(), X)
    assert "self.mixer.last" not in source, source
    assert "self.mixer(x)" in source, source
