"""Recurrent layers and cells as functions, of weights in PyTorch's own layout."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.layers.recurrent_steps import (
    Run,
    States,
    gru_gates,
    gru_steps,
    lstm_gates,
    lstm_steps,
    product,
    rnn_relu_steps,
    rnn_tanh_steps,
)

LARGE = 2**20  # elements of the weights that a step multiplies with, from which each direction has a core of its own


def lstm(
    x: mx.array,
    h: mx.array | None,
    c: mx.array | None,
    weights: Sequence[mx.array],
    *,
    num_layers: int = 1,
    bias: bool = True,
    bidirectional: bool = False,
    batch_first: bool = False,
) -> tuple[mx.array, mx.array, mx.array]:
    """`torch.nn.LSTM` of weights in torch's order: for each layer and direction w_ih, w_hh, b_ih, b_hh, w_hr.

    Args:
        x: (steps, batch, inputs), or (batch, steps, inputs) with `batch_first`; (steps, inputs) without a batch.
        h, c: (layers x directions, batch, units), without the batch if x has none; None for zeros.
        weights: without biases if not `bias`, without w_hr where h is as wide as c.

    Returns:
        Every step's h of the last layer, (steps, batch, directions x units) or as x; the last h and c of each layer.
    """
    y, (h, c) = _layers(lstm_steps, x, (h, c), weights, num_layers, bias, bidirectional, batch_first)
    return y, h, c


def gru(
    x: mx.array,
    h: mx.array | None,
    weights: Sequence[mx.array],
    *,
    num_layers: int = 1,
    bias: bool = True,
    bidirectional: bool = False,
    batch_first: bool = False,
) -> tuple[mx.array, mx.array]:
    """`torch.nn.GRU`; shapes as for `lstm`, without c."""
    y, (h,) = _layers(gru_steps, x, (h,), weights, num_layers, bias, bidirectional, batch_first)
    return y, h


def rnn(
    x: mx.array,
    h: mx.array | None,
    weights: Sequence[mx.array],
    *,
    num_layers: int = 1,
    bias: bool = True,
    bidirectional: bool = False,
    batch_first: bool = False,
    nonlinearity: str = "tanh",
) -> tuple[mx.array, mx.array]:
    """`torch.nn.RNN`, with "tanh" or "relu"; shapes as for `lstm`, without c."""
    run = rnn_relu_steps if nonlinearity == "relu" else rnn_tanh_steps
    y, (h,) = _layers(run, x, (h,), weights, num_layers, bias, bidirectional, batch_first)
    return y, h


def lstm_cell(
    x: mx.array,
    h: mx.array,
    c: mx.array,
    w_ih: mx.array,
    w_hh: mx.array,
    b_ih: mx.array | None = None,
    b_hh: mx.array | None = None,
) -> tuple[mx.array, mx.array]:
    """One step of `torch.nn.LSTMCell`: (batch, inputs), (batch, units) twice to the new h and c; or without batch."""
    gates = product(product(None, x, w_ih.T, b_ih), h, w_hh.T, b_hh)
    return lstm_gates(gates, c)


def gru_cell(
    x: mx.array,
    h: mx.array,
    w_ih: mx.array,
    w_hh: mx.array,
    b_ih: mx.array | None = None,
    b_hh: mx.array | None = None,
) -> mx.array:
    """One step of `torch.nn.GRUCell`: (batch, inputs) and (batch, units) to the new h; or without batch."""
    return gru_gates(product(None, x, w_ih.T, b_ih), product(None, h, w_hh.T, b_hh), h)


def rnn_cell(
    x: mx.array,
    h: mx.array,
    w_ih: mx.array,
    w_hh: mx.array,
    b_ih: mx.array | None = None,
    b_hh: mx.array | None = None,
    nonlinearity: str = "tanh",
) -> mx.array:
    """One step of `torch.nn.RNNCell`: (batch, inputs) and (batch, units) to the new h; or without batch."""
    y = product(product(None, x, w_ih.T, b_ih), h, w_hh.T, b_hh)
    return nn.relu(y) if nonlinearity == "relu" else mx.tanh(y)


# Layers and directions.


def _layers(
    run: Run,
    x: mx.array,
    states: Sequence[mx.array | None],
    weights: Sequence[mx.array],
    num_layers: int,
    bias: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[mx.array, States]:
    """`run` of each layer and direction, on (steps, batch, inputs)."""
    if x.ndim == 2:
        y, last = _layers(
            run,
            x[:, None],
            [None if state is None else state[:, None] for state in states],
            weights,
            num_layers,
            bias,
            bidirectional,
            False,
        )
        return y[:, 0], tuple(state[:, 0] for state in last)
    directions = 2 if bidirectional else 1
    each = len(weights) // (num_layers * directions)
    y = x.swapaxes(0, 1) if batch_first else x
    ends: list[States] = []
    for layer in range(num_layers):
        sides = []
        for reverse in range(directions):
            place = layer * directions + reverse
            w = list(weights[place * each : (place + 1) * each])
            b_ih, b_hh = (w[2], w[3]) if bias else (None, None)
            projection = w[-1] if each in (3, 5) else None
            start = [
                mx.zeros((y.shape[1], width), y.dtype) if state is None else state[place]
                for state, width in zip(states, _widths(w[1], projection), strict=False)
            ]
            core = reverse if directions == 2 and w[1].size >= LARGE else None
            side, end = run(y, start, w[0], w[1], b_ih, b_hh, projection, bool(reverse), core)
            sides.append(side)
            ends.append(end)
        y = sides[0] if directions == 1 else mx.concatenate(sides, axis=-1)
    last = tuple(mx.stack(list(parts)) for parts in zip(*ends, strict=True))
    return (y.swapaxes(0, 1) if batch_first else y), last


def _widths(w_hh: mx.array, projection: mx.array | None) -> tuple[int, int]:
    """Of h and of c."""
    return w_hh.shape[1], w_hh.shape[1] if projection is None else projection.shape[1]
