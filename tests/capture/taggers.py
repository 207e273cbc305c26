"""Small modules that tests of capture share."""

from __future__ import annotations

import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)

    def forward(self, hidden: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return hidden + scale * self.down(nn.functional.gelu(self.up(self.norm(hidden))))


class Tagger(nn.Module):
    """Embedding, blocks with two arguments, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 32)
        self.blocks = nn.ModuleList(Block(32) for _ in range(2))
        self.head = nn.Linear(32, 5)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        scale = torch.sigmoid(x.mean(dim=-1, keepdim=True))
        for block in self.blocks:
            x = block(x, scale)
        return self.head(x)


def example() -> tuple[nn.Module, tuple[torch.Tensor], dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    return Tagger().eval(), (torch.randint(0, 20, (2, 7)),), {}


class Otherwise(nn.Module):
    """Computes something else when it is exported: what a wrong capture looks like."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.second(x * 1.01 if torch.compiler.is_exporting() else x)


def otherwise() -> tuple[nn.Module, tuple[torch.Tensor], dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    return Otherwise(), (torch.randn(3, 4),), {}


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            return x
        return -x


def branching() -> tuple[nn.Module, tuple[torch.Tensor], dict[str, torch.Tensor]]:
    return Branching(), (torch.randn(3),), {}


class Inexpressible(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        found = torch.linalg.eigvals(x)
        return found, torch.special.hermite_polynomial_h(x, 2), torch.special.airy_ai(x) + torch.special.airy_ai(2 * x)


def inexpressible() -> tuple[nn.Module, tuple[torch.Tensor], dict[str, torch.Tensor]]:
    return Inexpressible(), (torch.randn(3, 3),), {}


class Picking(nn.Module):
    """Returns as many elements as there are positive ones."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(x)
        return y[y > 0]


def picking() -> tuple[nn.Module, tuple[torch.Tensor], dict[str, torch.Tensor]]:
    return Picking().eval(), (torch.randn(2, 8),), {}
