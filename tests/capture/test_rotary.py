"""Rotary embeddings in the ways in which models write them become `mx.fast.rope`; others stay as they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from operator_cases import assert_same, run

DIMS = 8
X = torch.randn(2, 3, 7, DIMS, generator=torch.Generator().manual_seed(0))
INVERSE = 100.0 ** (-torch.arange(0, DIMS, 2) / DIMS)


def angles(x: torch.Tensor, inverse: torch.Tensor = INVERSE, start: int = 0) -> torch.Tensor:
    return (torch.arange(x.shape[-2]) + start)[:, None].float() * inverse


def half(x: torch.Tensor, table: torch.Tensor | None = None, factor: float = 1.0) -> torch.Tensor:
    table = angles(x) if table is None else table
    table = torch.cat((table, table), -1)[None, None]
    a, b = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
    return x * (table.cos() * factor) + torch.cat((-b, a), -1) * (table.sin() * factor)


def pairs(x: torch.Tensor) -> torch.Tensor:
    table = angles(x).repeat_interleave(2, -1)
    turned = torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)
    return x * table.cos() + turned * table.sin()


def parts(x: torch.Tensor) -> torch.Tensor:
    (a, b), table = x.chunk(2, -1), angles(x)
    return torch.cat((a * table.cos() - b * table.sin(), b * table.cos() + a * table.sin()), -1)


def scaled(x: torch.Tensor) -> torch.Tensor:
    return half(x, factor=1.5)


def other_frequencies(x: torch.Tensor) -> torch.Tensor:
    return half(x, angles(x, INVERSE * torch.tensor([1.0, 1, 0.5, 0.5])))


def along_the_heads(x: torch.Tensor) -> torch.Tensor:
    return half(x.transpose(1, 2), angles(x)[:, None])


def from_seven(x: torch.Tensor) -> torch.Tensor:
    return half(x, angles(x, start=7))


def part_of_the_head(x: torch.Tensor) -> torch.Tensor:
    x = torch.cat((x, x), -1)
    return torch.cat((half(x[..., :DIMS]), x[..., DIMS:]), -1)


@pytest.mark.parametrize(
    ("function", "numbers"),
    [
        (half, "traditional=False, base=100.0, scale=1.0, offset=0"),
        (pairs, "traditional=True, base=100.0, scale=1.0, offset=0"),
        (parts, "traditional=False, base=100.0, scale=1.0, offset=0"),
        (from_seven, "traditional=False, base=100.0, scale=1.0, offset=7"),
        (part_of_the_head, "traditional=False, base=100.0, scale=1.0, offset=0"),
    ],
)
def test_rotary(function: Any, numbers: str) -> None:
    """Halves or neighbours as pairs, in one sum or in parts."""
    got, want, source = run(function, [X])
    assert_same(got, want)
    assert f"{DIMS}, {numbers}" in source, source
    assert "mx.cos" not in source


@pytest.mark.parametrize("function", [scaled, other_frequencies, along_the_heads])
def test_left_alone(function: Any) -> None:
    """A factor, other frequencies, another axis: no rotation that MLX has."""
    got, want, source = run(function, [X])
    assert_same(got, want)
    assert "rope" not in source, source
