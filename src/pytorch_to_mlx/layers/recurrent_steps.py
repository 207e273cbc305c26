"""All steps of one recurrent layer in one direction.

All products with the input are one; a step is a product with the state and a few fused operations. States and gates of
a step are (units, batch): the product w h takes half the time of h w^T on a CPU, and gates are parts in one piece.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.layers.cores import on_core
from pytorch_to_mlx.layers.device import can_compile, linux_cpu

States = tuple[mx.array, ...]
Run = Callable[..., tuple[mx.array, States]]
MANY_STEPS = 8  # from here on, weights are changed once for quicker gates in all steps
ONE_THREAD = 2**18  # multiplications of a product that OpenBLAS does on one thread
FEWEST_ROWS = 32  # of a block, below which blocks take longer than what they are blocks of


def _over(steps: int, reverse: bool) -> range:
    return range(steps - 1, -1, -1) if reverse else range(steps)


def _joined(outputs: list[mx.array], reverse: bool) -> mx.array:
    """(steps, batch, units) of each step's."""
    units, batch = outputs[0].shape
    y = mx.concatenate(outputs[::-1] if reverse else outputs)
    return y.reshape(len(outputs), units, batch).swapaxes(1, 2)


def _given(x: mx.array, w: mx.array, b: mx.array | None) -> list[mx.array]:
    """What the input gives to the gates of each step, (rows, batch)."""
    steps, batch, _ = x.shape
    parts: Any = mx.split(product(None, x, w.T, b).swapaxes(1, 2).reshape(steps * len(w), batch), steps)
    return parts


def _times(w: mx.array, batch: int) -> Callable[[mx.array | None, mx.array], mx.array]:
    """A function of start (rows, batch) or None and h (units, batch) that computes start + w h.

    On the Linux CPU backend in blocks of rows that OpenBLAS does on one thread: for a few columns that takes half the
    time of all rows on two, and leaves the other cores to others.
    """
    rows, units = w.shape
    count = _blocks(rows, units * batch)
    if count == 1 or not linux_cpu():
        return lambda start, h: w @ h if start is None else mx.addmm(start, w, h)
    parts = w.reshape(count, rows // count, units)

    def times(start: mx.array | None, h: mx.array) -> mx.array:
        y = parts @ h[None] if start is None else mx.addmm(start.reshape(count, -1, batch), parts, h[None])
        return y.reshape(rows, batch)

    return times


def _blocks(rows: int, each: int) -> int:
    """How many blocks the rows, of so many multiplications each, are done in."""
    least = -(-rows * each // ONE_THREAD)
    count = next(count for count in range(least, rows + 1) if rows % count == 0) if least <= rows else rows
    return count if rows // count >= FEWEST_ROWS else 1


def product(start: mx.array | None, x: mx.array, w: mx.array, b: mx.array | None) -> mx.array:
    """start + x w + b."""
    y = x @ w
    y = y if b is None else y + b
    return y if start is None else start + y


def lstm_steps(
    x: mx.array,
    states: Sequence[mx.array],
    w_ih: mx.array,
    w_hh: mx.array,
    b_ih: mx.array | None,
    b_hh: mx.array | None,
    w_hr: mx.array | None,
    reverse: bool,
    core: int | None = None,
) -> tuple[mx.array, States]:
    h, c = (state.T for state in states)
    quick = len(x) >= MANY_STEPS and _lowered(x)
    bias = b_ih if b_hh is None or b_ih is None else b_ih + b_hh
    if quick:  # a sigmoid is (1 + tanh(x / 2)) / 2
        units = len(w_hh) // 4
        half = mx.repeat(mx.array([0.5, 0.5, 1.0, 0.5]), units)
        w_ih, w_hh = w_ih * half[:, None], w_hh * half[:, None]
        bias = None if bias is None else bias * half
    gates, times = _given(x, w_ih, bias), _times(w_hh, x.shape[1])
    outputs = []
    with on_core(core):
        for step in _over(len(x), reverse):
            given = times(gates[step], h)
            h, c = _quick_lstm(given, c) if quick else lstm_gates(given, c, axis=0)
            if w_hr is not None:
                h = w_hr @ h
            outputs.append(h)
    return _joined(outputs, reverse), (h.T, c.T)


def gru_steps(
    x: mx.array,
    states: Sequence[mx.array],
    w_ih: mx.array,
    w_hh: mx.array,
    b_ih: mx.array | None,
    b_hh: mx.array | None,
    w_hr: None,
    reverse: bool,
    core: int | None = None,
) -> tuple[mx.array, States]:
    h = states[0].T
    quick = len(x) >= MANY_STEPS and _lowered(x)
    if quick:
        half = mx.repeat(mx.array([0.5, 0.5, 1.0]), w_hh.shape[1])
        w_ih, w_hh = w_ih * half[:, None], w_hh * half[:, None]
        b_ih = None if b_ih is None else b_ih * half
        b_hh = None if b_hh is None else b_hh * half
    given = _given(x, w_ih, b_ih)
    start = None if b_hh is None else mx.broadcast_to(b_hh[:, None], (len(b_hh), x.shape[1]))
    times, outputs = _times(w_hh, x.shape[1]), []
    with on_core(core):
        for step in _over(len(x), reverse):
            recurrent = times(start, h)
            h = _quick_gru(given[step], recurrent, h) if quick else gru_gates(given[step], recurrent, h, axis=0)
            outputs.append(h)
    return _joined(outputs, reverse), (h.T,)


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
        core: int | None = None,
    ) -> tuple[mx.array, States]:
        h = states[0].T
        given = _given(x, w_ih, None if b_ih is None or b_hh is None else b_ih + b_hh)
        times, outputs = _times(w_hh, x.shape[1]), []
        with on_core(core):
            for step in _over(len(x), reverse):
                h = activation(times(given[step], h))
                outputs.append(h)
        return _joined(outputs, reverse), (h.T,)

    return run


rnn_relu_steps = _rnn(nn.relu)
rnn_tanh_steps = _rnn(lambda x: _tanh(x) if _lowered(x) else mx.tanh(x))


# Gates.


def lstm_gates(gates: mx.array, c: mx.array, axis: int = -1) -> tuple[mx.array, mx.array]:
    return _compiled(_lstm_step)(*mx.split(gates, 4, axis=axis), c)


def _lstm_step(i: mx.array, f: mx.array, g: mx.array, o: mx.array, c: mx.array) -> tuple[mx.array, mx.array]:
    c = mx.sigmoid(f) * c + mx.sigmoid(i) * mx.tanh(g)
    return mx.sigmoid(o) * mx.tanh(c), c


def gru_gates(given: mx.array, recurrent: mx.array, h: mx.array, axis: int = -1) -> mx.array:
    return _compiled(_gru_step)(*mx.split(given, 3, axis=axis), *mx.split(recurrent, 3, axis=axis), h)


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
    """`lstm_gates` where those of sigmoids are halved, for sigmoid(x) = (1 + tanh(x / 2)) / 2."""
    i, f, g, o = mx.split(_tanh(gates), 4)
    c = _compiled(_new_c)(i, f, g, c)
    return _compiled(_opened)(o, _tanh(c)), c


def _new_c(i: mx.array, f: mx.array, g: mx.array, c: mx.array) -> mx.array:
    return 0.5 * ((c + f * c) + (g + i * g))


def _opened(o: mx.array, c: mx.array) -> mx.array:
    return 0.5 * (c + o * c)


def _quick_gru(given: mx.array, recurrent: mx.array, h: mx.array) -> mx.array:
    """`gru_gates` where those of sigmoids are halved."""
    (gates, before), (others, after) = (mx.split(each, [2 * len(h)]) for each in (given, recurrent))
    r, z = mx.split(_tanh(gates + others), 2)
    n = _tanh(_compiled(_before_n)(before, r, after))
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
