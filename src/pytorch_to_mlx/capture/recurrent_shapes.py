"""Recurrent operators in an export: torch would trace each step by itself, and so fix how many there are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch._decomp import decomposition_table

aten = torch.ops.aten
OPERATORS = (aten.lstm.input, aten.gru.input, aten.rnn_tanh.input, aten.rnn_relu.input)


@contextlib.contextmanager
def any_number_of_steps() -> Iterator[None]:
    """Within the block, tracing a recurrent operator computes its results' shapes alone, of however many steps."""
    kept = {operator: (dict(operator.py_kernels), decomposition_table[operator]) for operator in OPERATORS}
    for operator in OPERATORS:
        shapes = _lstm if operator is aten.lstm.input else _one_state
        decomposition_table[operator] = shapes
        operator.py_kernels.update(dict.fromkeys(operator.py_kernels, shapes))
        operator._dispatch_cache.clear()
    try:
        yield
    finally:
        for operator, (kernels, how) in kept.items():
            decomposition_table[operator] = how
            operator.py_kernels.update(kernels)
            operator._dispatch_cache.clear()


def _lstm(
    x: torch.Tensor, hx: list[torch.Tensor], params: list[torch.Tensor], *options: Any
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    y, h = _one_state(x, hx[0], params, *options)
    return y, h, x.new_empty(hx[1].shape)


def _one_state(
    x: torch.Tensor,
    h: torch.Tensor,
    params: list[torch.Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    width = h.shape[-1] * (2 if bidirectional else 1)
    return x.new_empty((*x.shape[:-1], width)), x.new_empty(h.shape)
