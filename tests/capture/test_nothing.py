"""Operators on arrays without elements, which MLX 0.32.4 may compute without end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from operator_cases import assert_same, run


@pytest.mark.parametrize(
    ("function", "shape", "written"),
    [
        (lambda x: torch.var_mean(x, 0), (0, 3), "mx.full((3,), mx.nan"),
        (lambda x: x.sum(1), (2, 0), "mx.full((2,), 0.0"),
        (lambda x: x.prod(), (0,), "mx.full((), 1.0"),
        (lambda x: torch.softmax(x, -1), (2, 0), "mx.zeros((2, 0)"),
        (lambda x: torch.cat([x, torch.ones(2, 3)], 1).sum(1), (2, 0), "mx.concatenate"),
    ],
)
def test_nothing(function: Callable[[torch.Tensor], Any], shape: tuple[int, ...], written: str) -> None:
    got, want, source = run(function, [torch.ones(shape)])
    assert_same(got, want)
    assert written in source, source
