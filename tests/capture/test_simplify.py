"""Masks and positions that are built of ranges, as a person would write them."""

from __future__ import annotations

import torch
from operator_cases import assert_same, run

from pytorch_to_mlx.capture.export import export
from pytorch_to_mlx.capture.generate import generate

MASK = torch.tensor([[1, 1, 1, 0, 1], [1, 1, 0, 0, 1]])


class Causal(torch.nn.Module):
    """A mask as transformers builds it."""

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        batch, length = x.shape
        rows = (torch.arange(batch) + 0)[:, None, None, None]
        queries = (torch.arange(length) + 0)[None, None, :, None]
        keys = (torch.arange(length) + 0)[None, None, None, :]
        seen = torch.ones((), dtype=torch.bool) & (keys <= queries)
        return (seen & mask.bool()[rows, keys]) * x[:, None, None, :]


def test_causal_mask() -> None:
    """Neither lookups nor axes that broadcasting adds; the mask may have more rows than are looked up."""
    source = generate(export(Causal(), (torch.ones(2, 5), MASK))).source
    assert "seen = keys <= queries[:, None]" in source, source
    assert "mask.astype(mx.bool_)[:batch][:, :length][:, None, None]" in source, source
    assert "ones" not in source


def test_values() -> None:
    """What is simplified has torch's values."""
    for function, args in (
        (Causal(), [torch.ones(2, 5), MASK]),
        (Causal(), [torch.ones(1, 5), MASK]),
        (lambda x: x[torch.arange(2)[:, None], torch.arange(3)], [MASK]),
        (lambda x: x[torch.arange(2), torch.arange(2)], [MASK]),
        (lambda x: x[torch.arange(3)[None], torch.arange(2)[:, None]], [torch.arange(20).reshape(4, 5)]),
        (lambda x: (x[None, :, None, None] > 0) | torch.zeros((), dtype=torch.bool), [MASK]),
        (lambda x: (x[None] + x[None, None])[..., None], [MASK]),
        (lambda x, y: (x[None, None] > y) & (x > 0)[None], [MASK, MASK[:1]]),
    ):
        got, want, _ = run(function, args)
        assert_same(got, want)
