"""Attention in the forms that MLX's own does not have: causal masks of unequal lengths, queries that see nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from operator_cases import assert_same, run
from torch.nn.functional import scaled_dot_product_attention

QUERIES, KEYS, DEPTH = 4, 6, 8
SEEN = torch.rand(QUERIES, KEYS, generator=torch.Generator().manual_seed(0)) > 0.4
SEEN[1] = False
ADDED = torch.zeros(QUERIES, KEYS).masked_fill(~SEEN, float("-inf"))

CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "causal": ((2, 3), (2, 3), {"is_causal": True}),
    "boolean, a query that sees nothing": ((2, 3), (2, 3), {"attn_mask": SEEN}),
    "added, a query that sees nothing": ((2, 3), (2, 3), {"attn_mask": ADDED}),
    "mask of each batch": ((2, 3), (2, 3), {"attn_mask": SEEN.expand(2, 1, QUERIES, KEYS)}),
    "without batch": ((3,), (3,), {"attn_mask": SEEN}),
    "one matrix": ((), (), {"is_causal": True}),
    "rank 5": ((2, 2, 3), (2, 2, 3), {"attn_mask": SEEN}),
    "shared heads": ((2, 4), (2, 2), {"enable_gqa": True, "attn_mask": SEEN}),
    "shared heads, causal": ((2, 4), (2, 2), {"enable_gqa": True, "is_causal": True}),
    "a scale": ((2, 3), (2, 3), {"scale": 0.3}),
    "broadcast batch": ((2, 3), (1, 3), {}),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_torchs(case: str) -> None:
    before, shared, options = CASES[case]
    torch.manual_seed(0)
    q = torch.randn(*before, QUERIES, DEPTH)
    k, v = torch.randn(*shared, KEYS, DEPTH), torch.randn(*shared, KEYS, DEPTH + 2)
    mask = options.get("attn_mask")
    rest = {name: value for name, value in options.items() if name != "attn_mask"}
    given = [q, k, v] if mask is None else [q, k, v, mask]
    got, want, _ = run(lambda q, k, v, mask=None: scaled_dot_product_attention(q, k, v, mask, **rest), given)
    assert_same(got, want)


def test_a_causal_square_is_mlxs_own() -> None:
    q = torch.randn(1, 2, QUERIES, DEPTH)
    got, want, source = run(lambda q: scaled_dot_product_attention(q, q, q, is_causal=True), [q])
    assert_same(got, want)
    assert 'mask="causal"' in source
