"""Branches on values: answered once where one answer is right for all inputs, refused where none is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from pytorch_to_mlx.capture.export import export
from pytorch_to_mlx.errors import CaptureError

IDS = torch.tensor([[3, 5, 1, 7], [2, 6, 4, 8]])


class Model(torch.nn.Module):
    def __init__(self, mask: Callable[[torch.Tensor], torch.Tensor | None]) -> None:
        super().__init__()
        self.mask, self.embed = mask, torch.nn.Embedding(16, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        mask, x = self.mask(ids), self.embed(ids)
        return x if mask is None else x.masked_fill(mask[..., None], 0.0)


def mask_if_needed(ids: torch.Tensor) -> torch.Tensor | None:
    mask = ids.eq(0)
    return mask if mask.any() else None


def checked(ids: torch.Tensor) -> torch.Tensor | None:
    if not (ids >= 0).all().item():
        raise ValueError("negative")
    return None


def other_way(ids: torch.Tensor) -> torch.Tensor | None:
    return ids > 4 if (ids > 4).any() else ids < 3


def test_a_branch_that_changes_nothing_is_taken() -> None:
    """The example has nothing to mask; what is captured masks all the same."""
    torch.manual_seed(0)
    model = Model(mask_if_needed)
    program = export(model, (IDS,))
    assert any("mask.any()" in note and "True" in note for note in program.notes)
    assert "masked_fill" in str(program.graph)
    assert any(isinstance(size, torch.SymInt) for node in program.inputs for size in node.meta["val"].shape)


def test_a_check_is_taken_to_hold() -> None:
    """The way that raises is no way."""
    assert any("all().item()" in note for note in export(Model(checked), (IDS,)).notes)


def test_a_true_branch_is_refused() -> None:
    """Both ways give something of their own: the line is told."""
    with pytest.raises(CaptureError, match=r"test_branches\.py:\d+: .*any\(\)"):
        export(Model(other_way), (IDS,))


class Clipping(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.max() > 1:
            x = x.clamp(max=10)
        return 2 * x


def test_what_the_example_does_not_need_is_not_left_out() -> None:
    """The example is clipped in vain; other values would not be."""
    with pytest.raises(CaptureError, match=r"test_branches\.py:\d+: if x\.max\(\) > 1"):
        export(Clipping(), (torch.tensor([0.5, 2.0, 3.0]),))
    assert any("is taken to be True" in note for note in export(Clipping(), (torch.tensor([0.5, 0.2, 0.3]),)).notes)


class Shrinking(torch.nn.Module):
    """A loop that values end."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        while x.abs().max() > 1:
            x = x / 2
        return x


def test_a_loop_that_values_end_is_refused() -> None:
    with pytest.raises(CaptureError, match=r"test_branches\.py:\d+: .*while x\.abs\(\)\.max\(\) > 1"):
        export(Shrinking(), (torch.tensor([3.0, -2.0]),))
