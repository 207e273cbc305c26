"""Which sizes stay dynamic, and that looking for them ends."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pytorch_to_mlx.capture.examples import Sizes
from pytorch_to_mlx.capture.export import export
from pytorch_to_mlx.capture.limits import at_most
from pytorch_to_mlx.capture.sizes import axis_groups, expression
from pytorch_to_mlx.capture.state import Program


def fixed(program: Program) -> list[list[bool]]:
    """Of each input, which axes have a fixed size."""
    return [[bool(expression(size).is_Integer) for size in node.meta["val"].shape] for node in program.inputs]


class Tagged(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 5, batch_first=True, bidirectional=True)
        self.head = nn.Linear(10, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.lstm(x)[0]))


class Frozen(dict):
    """As diffusers' configurations are."""

    def update(self, *args: object, **kwargs: object) -> None:
        raise TypeError("frozen")


def test_attributes_that_refuse_to_change() -> None:
    module, frozen = Tagged(), Frozen(a=1)
    object.__setattr__(module, "config", frozen)
    export(module, (torch.randn(2, 7, 4),))
    assert frozen == {"a": 1}


def test_any_number_of_steps() -> None:
    assert fixed(export(Tagged(), (torch.randn(1, 7, 4),))) == [[False, False, True]]


class Masked(nn.Module):
    """As torchaudio's Emformer: a batch of one needs no mask; the mask of a larger one depends on values."""

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        if len(x) > 1:
            x = x.masked_fill(torch.arange(int(lengths.max())) >= lengths[:, None], 0)
        return x.cumsum(1)


def test_a_batch_of_one_stays_where_a_larger_one_cannot_be_traced() -> None:
    program = export(Masked(), (torch.randn(1, 7), torch.tensor([7])))
    assert fixed(program) == [[True, False], [True]] and not program.notes


def test_an_endless_block_ends() -> None:
    def endless() -> None:
        while True:
            try:
                sum(range(100))
            except Exception:
                continue

    with pytest.raises(TimeoutError, match=r"more than 0\.2 s of processor time"), at_most(0.2):
        endless()
    with at_most(100):
        pass


class Pairs(nn.Module):
    """Two images of the same size, a multiple of 8, as torchvision's RAFT takes them."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if x.shape[1] % 8 or len(x) != len(y):
            raise ValueError("multiples of 8")
        return torch.cat([x, y], 1)


def test_sizes_that_the_model_takes_are_found() -> None:
    module, given = Pairs(), (torch.randn(1, 16), torch.randn(1, 16))
    tried = list(Sizes(export(module, given)).candidates(given))
    taken = []
    for sizes in tried:
        x = torch.zeros([*sizes.values()][:2])
        if x.shape[1] % 8 == 0:
            taken.append(tuple(module(x, x).shape))
    assert len(taken) >= 2


def test_axes_that_are_joined_and_split() -> None:
    assert axis_groups([2, 3, 4, 5], [6, 4, 5]) == [([0, 1], [0]), ([2], [1]), ([3], [2])]
    assert axis_groups([6, 4], [2, 3, 2, 2]) == [([0], [0, 1]), ([1], [2, 3])]
    assert axis_groups([4, 6], [6, 4]) == [([0, 1], [0, 1])]
    assert axis_groups([], [1]) is None
