"""Recurrent layers in PyTorch's own layout of weights, their cells, and what both compute as functions.

All products with the input are one; a step is a product with the state and a few fused operations. Weights of a layer
and direction are named as in torch: weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, weight_hr_l0 (of a projection),
and the same with `_reverse` for the direction from the last step to the first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.layers.device import can_compile, linux_cpu

States = tuple[mx.array, ...]
MANY_STEPS = 8  # from here on, weights are made ready once for all steps


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
    y, (h, c) = _layers(_lstm, x, (h, c), weights, num_layers, bias, bidirectional, batch_first)
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
    y, (h,) = _layers(_gru, x, (h,), weights, num_layers, bias, bidirectional, batch_first)
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
    run = _rnn_relu if nonlinearity == "relu" else _rnn_tanh
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
    gates = _product(_product(None, x, w_ih.T, b_ih), h, w_hh.T, b_hh)
    return _lstm_gates(gates, c)


def gru_cell(
    x: mx.array,
    h: mx.array,
    w_ih: mx.array,
    w_hh: mx.array,
    b_ih: mx.array | None = None,
    b_hh: mx.array | None = None,
) -> mx.array:
    """One step of `torch.nn.GRUCell`: (batch, inputs) and (batch, units) to the new h; or without batch."""
    return _gru_gates(_product(None, x, w_ih.T, b_ih), _product(None, h, w_hh.T, b_hh), h)


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
    y = _product(_product(None, x, w_ih.T, b_ih), h, w_hh.T, b_hh)
    return nn.relu(y) if nonlinearity == "relu" else mx.tanh(y)


class _Recurrent(nn.Module):
    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        bidirectional: bool = False,
        proj_size: int = 0,
    ) -> None:
        super().__init__()
        self.num_layers, self.has_bias, self.batch_first = num_layers, bias, batch_first
        self.bidirectional = bidirectional
        self._names: list[str] = []
        rows, width = self.gates * hidden_size, proj_size or hidden_size
        for layer in range(num_layers):
            inputs = input_size if layer == 0 else width * (1 + bidirectional)
            for end in ("", "_reverse")[: 1 + bidirectional]:
                shapes = {"weight_ih": (rows, inputs), "weight_hh": (rows, width)}
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)} if bias else {}
                shapes |= {"weight_hr": (proj_size, hidden_size)} if proj_size else {}
                for name, shape in shapes.items():
                    self._names.append(f"{name}_l{layer}{end}")
                    self[self._names[-1]] = mx.zeros(shape)

    def _given(self) -> dict:
        return {
            "weights": [self[name] for name in self._names],
            "num_layers": self.num_layers,
            "bias": self.has_bias,
            "bidirectional": self.bidirectional,
            "batch_first": self.batch_first,
        }


class LSTM(_Recurrent):
    """`torch.nn.LSTM`, parameters named as there."""

    gates = 4

    def __call__(self, x: mx.array, h: mx.array | None = None, c: mx.array | None = None) -> States:
        """As `lstm`: (y, h, c)."""
        return lstm(x, h, c, **self._given())


class GRU(_Recurrent):
    """`torch.nn.GRU`, parameters named as there."""

    gates = 3

    def __call__(self, x: mx.array, h: mx.array | None = None) -> States:
        """As `gru`: (y, h)."""
        return gru(x, h, **self._given())


class RNN(_Recurrent):
    """`torch.nn.RNN`, parameters named as there."""

    def __init__(self, input_size: int, hidden_size: int, *, nonlinearity: str = "tanh", **more: Any) -> None:
        super().__init__(input_size, hidden_size, **more)
        self.nonlinearity = nonlinearity

    def __call__(self, x: mx.array, h: mx.array | None = None) -> States:
        """As `rnn`: (y, h)."""
        return rnn(x, h, nonlinearity=self.nonlinearity, **self._given())


class _Cell(nn.Module):
    gates = 1

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__()
        rows = self.gates * hidden_size
        self.weight_ih, self.weight_hh = mx.zeros((rows, input_size)), mx.zeros((rows, hidden_size))
        if bias:
            self.bias_ih, self.bias_hh = mx.zeros(rows), mx.zeros(rows)

    def _weights(self) -> list[mx.array]:
        return [self[name] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if name in self]

    def _start(self, x: mx.array, state: mx.array | None) -> mx.array:
        return mx.zeros((*x.shape[:-1], self.weight_hh.shape[1]), x.dtype) if state is None else state


class LSTMCell(_Cell):
    """`torch.nn.LSTMCell`, parameters named as there."""

    gates = 4

    def __call__(self, x: mx.array, h: mx.array | None = None, c: mx.array | None = None) -> States:
        """As `lstm_cell`: the new h and c."""
        return lstm_cell(x, self._start(x, h), self._start(x, c), *self._weights())


class GRUCell(_Cell):
    """`torch.nn.GRUCell`, parameters named as there."""

    gates = 3

    def __call__(self, x: mx.array, h: mx.array | None = None) -> mx.array:
        """As `gru_cell`."""
        return gru_cell(x, self._start(x, h), *self._weights())


class RNNCell(_Cell):
    """`torch.nn.RNNCell`, parameters named as there."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh") -> None:
        super().__init__(input_size, hidden_size, bias)
        self.nonlinearity = nonlinearity

    def __call__(self, x: mx.array, h: mx.array | None = None) -> mx.array:
        """As `rnn_cell`."""
        return rnn_cell(x, self._start(x, h), *self._weights(), nonlinearity=self.nonlinearity)


# Layers and directions.

Run = Callable[..., tuple[mx.array, States]]


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
            side, end = run(y, start, w[0], w[1], b_ih, b_hh, projection, bool(reverse))
            sides.append(side)
            ends.append(end)
        y = sides[0] if directions == 1 else mx.concatenate(sides, axis=-1)
    last = tuple(mx.stack(list(parts)) for parts in zip(*ends, strict=True))
    return (y.swapaxes(0, 1) if batch_first else y), last


def _widths(w_hh: mx.array, projection: mx.array | None) -> tuple[int, int]:
    """Of h and of c."""
    return w_hh.shape[1], w_hh.shape[1] if projection is None else projection.shape[1]


def _over(steps: int, reverse: bool) -> range:
    return range(steps - 1, -1, -1) if reverse else range(steps)


def _joined(outputs: list[mx.array], reverse: bool) -> mx.array:
    """(steps, batch, units) of each step's."""
    batch, units = outputs[0].shape
    return mx.concatenate(outputs[::-1] if reverse else outputs).reshape(len(outputs), batch, units)


def _product(start: mx.array | None, x: mx.array, w: mx.array, b: mx.array | None) -> mx.array:
    """start + x w + b."""
    y = x @ w
    y = y if b is None else y + b
    return y if start is None else start + y


def _lstm(
    x: mx.array,
    states: Sequence[mx.array],
    w_ih: mx.array,
    w_hh: mx.array,
    b_ih: mx.array | None,
    b_hh: mx.array | None,
    w_hr: mx.array | None,
    reverse: bool,
) -> tuple[mx.array, States]:
    h, c = states
    quick = len(x) >= MANY_STEPS and _lowered(x)
    bias = None if b_ih is None or b_hh is None else b_ih + b_hh
    if quick:  # a sigmoid is (1 + tanh(x / 2)) / 2
        units = len(w_hh) // 4
        half = mx.repeat(mx.array([0.5, 0.5, 1.0, 0.5]), units)
        w_ih, w_hh = w_ih * half[:, None], w_hh * half[:, None]
        bias = None if bias is None else bias * half
    gates = _product(None, x, w_ih.T, bias)
    w, project = w_hh.T, None if w_hr is None else w_hr.T
    if len(x) >= MANY_STEPS:
        w = mx.contiguous(w)
    outputs = []
    for step in _over(len(x), reverse):
        given = mx.addmm(gates[step], h, w)
        h, c = _quick_lstm(given, c) if quick else _lstm_gates(given, c)
        if project is not None:
            h = h @ project
        outputs.append(h)
    return _joined(outputs, reverse), (h, c)


def _gru(
    x: mx.array,
    states: Sequence[mx.array],
    w_ih: mx.array,
    w_hh: mx.array,
    b_ih: mx.array | None,
    b_hh: mx.array | None,
    w_hr: None,
    reverse: bool,
) -> tuple[mx.array, States]:
    (h,) = states
    quick = len(x) >= MANY_STEPS and _lowered(x)
    if quick:
        half = mx.repeat(mx.array([0.5, 0.5, 1.0]), w_hh.shape[1])
        w_ih, w_hh = w_ih * half[:, None], w_hh * half[:, None]
        b_ih = None if b_ih is None else b_ih * half
        b_hh = None if b_hh is None else b_hh * half
    given = _product(None, x, w_ih.T, b_ih)
    w = mx.contiguous(w_hh.T) if len(x) >= MANY_STEPS else w_hh.T
    start = None if b_hh is None else mx.broadcast_to(b_hh, (x.shape[1], len(b_hh)))
    outputs = []
    for step in _over(len(x), reverse):
        recurrent = h @ w if start is None else mx.addmm(start, h, w)
        h = _quick_gru(given[step], recurrent, h) if quick else _gru_gates(given[step], recurrent, h)
        outputs.append(h)
    return _joined(outputs, reverse), (h,)


def _rnn(activation: Callable[[mx.array], mx.array]) -> Run:
    def run(
        x: mx.array,
        states: Sequence[mx.array],
        w_ih: mx.array,
        w_hh: mx.array,
        b_ih: mx.array | None,
        b_hh: mx.array | None,
        w_hr: None,
        reverse: bool,
    ) -> tuple[mx.array, States]:
        (h,) = states
        given = _product(None, x, w_ih.T, None if b_ih is None or b_hh is None else b_ih + b_hh)
        w = mx.contiguous(w_hh.T) if len(x) >= MANY_STEPS else w_hh.T
        outputs = []
        for step in _over(len(x), reverse):
            h = activation(mx.addmm(given[step], h, w))
            outputs.append(h)
        return _joined(outputs, reverse), (h,)

    return run


_rnn_relu = _rnn(nn.relu)
_rnn_tanh = _rnn(lambda x: _tanh(x) if _lowered(x) else mx.tanh(x))


# Gates.


def _lstm_gates(gates: mx.array, c: mx.array) -> tuple[mx.array, mx.array]:
    return _compiled(_lstm_step)(*mx.split(gates, 4, axis=-1), c)


def _lstm_step(i: mx.array, f: mx.array, g: mx.array, o: mx.array, c: mx.array) -> tuple[mx.array, mx.array]:
    c = mx.sigmoid(f) * c + mx.sigmoid(i) * mx.tanh(g)
    return mx.sigmoid(o) * mx.tanh(c), c


def _gru_gates(given: mx.array, recurrent: mx.array, h: mx.array) -> mx.array:
    return _compiled(_gru_step)(*mx.split(given, 3, axis=-1), *mx.split(recurrent, 3, axis=-1), h)


def _gru_step(r: mx.array, z: mx.array, n: mx.array, hr: mx.array, hz: mx.array, hn: mx.array, h: mx.array) -> mx.array:
    n = mx.tanh(n + mx.sigmoid(r + hr) * hn)
    return n + mx.sigmoid(z + hz) * (h - n)


# Many steps in float32 on the Linux CPU backend. There MLX's exponentials are scalar calls, and its compiler ends a
# kernel where expressions get deep: hence one tanh for all gates, as a quotient of polynomials, which vectorises.

# tanh(x) = x P(x^2) / Q(x^2) for |x| <= 9, with an error of 3.3e-7 in float32; a minimax fit of our own.
TANH_P = (0.99999997945575, 0.13381029688748, 0.003495592857029652, 2.0609156277846917e-05, 1.3354755668288452e-08)
TANH_Q = (1.0, 0.4671434528354714, 0.025877000407867383, 0.00032856423939195722, 7.776598652442476e-07)


def _polynomial(x: mx.array, square: mx.array, c: tuple[float, ...]) -> mx.array:
    return (c[0] + c[1] * x) + square * ((c[2] + c[3] * x) + square * c[4])


def _rational_tanh(x: mx.array) -> mx.array:
    x = mx.where(mx.abs(x) > 9.0, mx.sign(x) * 9.0, x)
    square = x * x
    fourth = square * square
    return x * _polynomial(square, fourth, TANH_P) / _polynomial(square, fourth, TANH_Q)


def _tanh(x: mx.array) -> mx.array:
    return _compiled(_rational_tanh)(x)


def _quick_lstm(gates: mx.array, c: mx.array) -> tuple[mx.array, mx.array]:
    """`_lstm_gates` where those of sigmoids are halved, for sigmoid(x) = (1 + tanh(x / 2)) / 2."""
    i, f, g, o = mx.split(_tanh(gates), 4, axis=-1)
    c = _compiled(_new_c)(i, f, g, c)
    return _compiled(_opened)(o, _tanh(c)), c


def _new_c(i: mx.array, f: mx.array, g: mx.array, c: mx.array) -> mx.array:
    return 0.5 * ((c + f * c) + (g + i * g))


def _opened(o: mx.array, c: mx.array) -> mx.array:
    return 0.5 * (c + o * c)


def _quick_gru(given: mx.array, recurrent: mx.array, h: mx.array) -> mx.array:
    """`_gru_gates` where those of sigmoids are halved."""
    units = h.shape[-1]
    r, z = mx.split(_tanh(given[:, : 2 * units] + recurrent[:, : 2 * units]), 2, axis=-1)
    n = _tanh(_compiled(_before_n)(given[:, 2 * units :], r, recurrent[:, 2 * units :]))
    return _compiled(_new_h)(n, z, h)


def _before_n(n: mx.array, r: mx.array, hn: mx.array) -> mx.array:
    return n + 0.5 * (hn + r * hn)


def _new_h(n: mx.array, z: mx.array, h: mx.array) -> mx.array:
    return 0.5 * ((n + h) + z * (h - n))


def _lowered(x: mx.array) -> bool:
    return x.dtype == mx.float32 and linux_cpu() and can_compile()


@lru_cache(maxsize=16)
def _compiled(function: Callable) -> Callable:
    return mx.compile(function)
