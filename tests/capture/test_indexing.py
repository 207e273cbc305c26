"""Indices, masks and order where torch has rules of its own, beside what its operator database shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from operator_cases import assert_same, run

from pytorch_to_mlx.errors import CaptureError

X = torch.arange(120.0).reshape(2, 3, 4, 5)
ROWS, COLUMNS = torch.tensor([0, 1, -1]), torch.tensor([[2], [0]])
MASK = torch.tensor([[True, False, True], [False, False, True]])
TIES = torch.tensor([[2.0, 1.0, 2.0, float("nan"), 1.0]])

CASES: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "neighbours": (lambda x, i: x[:, i, i], [X, ROWS]),
    "broadcast": (lambda x, i, j: x[:, i, j], [X, ROWS, COLUMNS]),
    "apart": (lambda x, i, j: x[i % 2, :, j], [X, ROWS, COLUMNS]),
    "first and last": (lambda x, i: x[i % 2, ..., i], [X, ROWS]),
    "with a number": (lambda x, i: x[0, :, i], [X, ROWS]),
    "with a new axis": (lambda x, i: x[:, None, i], [X, ROWS]),
    "put": (lambda x, i, v: x.index_put([i % 2, i], v), [X, ROWS, torch.ones(3, 4, 5)]),
    "put apart": (lambda x, i, v: torch.ops.aten.index_put(x, [i % 2, None, i], v), [X, ROWS, torch.ones(5)]),
    "add repeated": (lambda x, i: x.index_put([i % 2], torch.ones(3, 4, 5), accumulate=True), [X, ROWS]),
    "mask, number": (lambda x, m: x.index_put([m], torch.tensor(7.0)), [X, MASK]),
    "mask, one each": (lambda x, m, v: x.index_put([m], v), [X, MASK, torch.randn(3, 4, 5)]),
    "mask, one for all": (lambda x, m, v: x.index_put([m], v), [X, MASK, torch.randn(4, 5)]),
    "mask, added": (lambda x, m, v: x.index_put([m], v, accumulate=True), [X, MASK, torch.randn(1, 4, 5)]),
    "stable": (lambda x: torch.sort(x, stable=True), [TIES]),
    "stable, descending": (lambda x: torch.sort(x, stable=True, descending=True), [TIES]),
    "values alone, descending": (lambda x: torch.sort(x, descending=True)[0], [TIES]),
    "searched nan": (lambda x, v: torch.searchsorted(x, v, right=True), [TIES.sort()[0], TIES]),
    "mean without self": (
        lambda x, i, v: x.scatter_reduce(0, i, v, "mean", include_self=False),
        [torch.ones(4), torch.tensor([0, 0, 2]), torch.tensor([1.0, 2.0, 5.0])],
    ),
    "long integers": (lambda x, i: x.scatter_add(0, i, x), [torch.tensor([2**40, 1, 2]), torch.tensor([0, 0, 1])]),
    "complex": (lambda x, i: x.index_add(0, i, x), [torch.tensor([1 + 2j, 3j]), torch.tensor([1, 1])]),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_what_torch_does(case: str) -> None:
    function, args = CASES[case]
    got, want, _ = run(function, args)
    assert_same(got, want)


def test_results_whose_shape_depends_on_data_are_refused() -> None:
    with pytest.raises(CaptureError, match="whose shape depends on data"):
        run(lambda x: torch.masked_select(x, x > 0).sum(), [torch.ones(3)])


def test_a_slice_is_written_as_one() -> None:
    _, _, source = run(lambda x: x[:, :2, ..., -1], [X])
    assert "return x0[:, :2][..., -1]" in source
