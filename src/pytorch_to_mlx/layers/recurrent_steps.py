"""All steps of one recurrent layer in one direction.

All products with the input are one; a step is a product with the state and a few fused operations. States and gates of
a step are (units, batch): the product w h takes half the time of h w^T on a CPU, and gates are parts in one piece. MLX
takes about as long to dispatch a step's operations as to compute them, so no step has one more than it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.layers.cores import on_core
from pytorch_to_mlx.layers.device import can_compile, linux_cpu

States = tuple[mx.array, ...]
Run = Callable[..., tuple[mx.array, States]]
MANY_STEPS = 8  # from here on, weights are changed once for quicker gates in all steps
ONE_THREAD = 2**18  # multiplications of a product that OpenBLAS does on one thread
FEWEST_ROWS = 32  # of a block, below which blocks take longer than what they are blocks of


class _Gates:
    """How the gates of a layer lie in each step: (rows, batch) or (blocks, rows, batch); states as one gate's part.

    Blocks are rows of w that OpenBLAS multiplies on one thread, on the Linux CPU backend: for a few columns that takes
    half the time of all rows on two, and leaves the other cores to others. Elsewhere rows stay whole.
    """

    def __init__(self, w: mx.array, batch: int, count: int, core: int | None) -> None:
        rows, units = w.shape
        blocks = _blocks(rows, units * batch, count) if linux_cpu() else 1
        self.block = () if blocks == 1 else (rows // blocks,)
        # mx.compile merges equal constants of two streams, which ends a kernel: hence another shape on another core
        self.first = (1,) * (core or 0)
        self.w = w.reshape(*self.first, -1, *self.block, units)
        self.count, self.batch, self.axis = count, batch, len(self.first)

    def of(self, rows: mx.array) -> mx.array:
        """(steps, batch, rows) of some or all gates in the layout of a step, steps one after the other."""
        steps = [len(rows)] if self.first else []
        return rows.swapaxes(1, 2).reshape(*steps, *self.first[1:], -1, *self.block, self.batch)

    def column(self, state: mx.array) -> mx.array:
        """A state as the product takes it."""
        return state.reshape(*self.first, 1, -1, self.batch) if self.block else state

    def times(self, start: mx.array | None, h: mx.array) -> mx.array:
        """start + w h."""
        h = self.column(h)
        return self.w @ h if start is None else mx.addmm(start, self.w, h)

    def split(self, gates: mx.array, parts: int | list[int]) -> list[mx.array]:
        """So many equal parts, or up to so many gates and the rest."""
        if not isinstance(parts, int):
            parts = [gates.shape[self.axis] * part // self.count for part in parts]
        return mx.split(gates, parts, axis=self.axis)  # pyright: ignore[reportReturnType]


def _blocks(rows: int, each: int, gates: int) -> int:
    """How many blocks the rows, of so many multiplications each, are done in: one, or some for each gate."""
    least = -(-rows * each // ONE_THREAD)
    counts = range(-(-least // gates) * gates, rows + 1, gates)
    count = 1 if least == 1 else next((count for count in counts if rows % count == 0), rows)
    return count if rows // count >= FEWEST_ROWS else 1


def product(start: mx.array | None, x: mx.array, w: mx.array, b: mx.array | None) -> mx.array:
    """start + x w + b."""
    y = x @ w
    y = y if b is None else y + b
    return y if start is None else start + y


def _sum(a: mx.array | None, b: mx.array | None) -> mx.array | None:
    return a if b is None else b if a is None else a + b


def _run(
    step: Callable[..., States], steps: int, inputs: Sequence[mx.array], states: States, reverse: bool, core: int | None
) -> tuple[mx.array, States]:
    """Every step's h, (steps, batch, units), and the last states, each (batch, units); inputs as of `_Gates.of`."""
    outputs, batch = [], states[0].shape[-1]
    given = list(zip(*(mx.split(each, steps) for each in inputs), strict=True))
    with on_core(core):
        for parts in reversed(given) if reverse else given:
            states = step(*parts, *states)
            outputs.append(states[0])
    y = mx.concatenate(outputs[::-1] if reverse else outputs)
    return y.reshape(len(outputs), -1, batch).swapaxes(1, 2), tuple(state.reshape(-1, batch).T for state in states)


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
    """One layer of `torch.nn.LSTM` in one direction.

    Args:
        x: (steps, batch, inputs).
        states: the first h (batch, outputs) and c (batch, units); outputs are units unless there is `w_hr`.
        w_ih, w_hh: (4 x units, inputs) and (4 x units, outputs), gates as torch has them: input, forget, cell, output.
        b_ih, b_hh: (4 x units,) each, or None.
        w_hr: (outputs, units) where h is projected, or None.
        reverse: last step first.
        core: which core of a small Linux machine takes the steps (`on_core`), beside another direction's; None: any.

    Returns:
        Every step's h (steps, batch, outputs), and the last states.
    """
    quick = _is_quick(x)
    bias = _sum(b_ih, b_hh)
    if quick:  # a sigmoid is (1 + tanh(x / 2)) / 2
        half = mx.repeat(mx.array([0.5, 0.5, 1.0, 0.5]), len(w_hh) // 4)
        w_ih, w_hh = w_ih * half[:, None], w_hh * half[:, None]
        bias = None if bias is None else bias * half
    gates = _Gates(w_hh, x.shape[1], 4, core)

    cell = _quick_lstm if quick else _compiled(_lstm_step)

    def step(given: mx.array, h: mx.array, c: mx.array) -> States:
        y = gates.times(given, h)
        i, f, g, o = gates.split(_tanh(y) if quick else y, 4)
        h, c = cell(i, f, g, o, c)
        return (h if w_hr is None else w_hr @ gates.column(h)), c

    given = gates.of(product(None, x, w_ih.T, bias))
    h, c = states
    return _run(step, len(x), [given], (gates.column(h.T), gates.of(c[None])), reverse, core)


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
    """One layer of `torch.nn.GRU` in one direction: as `lstm_steps`, with h alone and gates reset, update, new."""
    quick = _is_quick(x)
    units = w_hh.shape[1]
    if quick:
        half = mx.repeat(mx.array([0.5, 0.5, 1.0]), units)
        w_ih, w_hh = w_ih * half[:, None], w_hh * half[:, None]
        b_ih = None if b_ih is None else b_ih * half
        b_hh = None if b_hh is None else b_hh * half
    gates = _Gates(w_hh, x.shape[1], 3, core)

    cell = _quick_gru if quick else _compiled(_gru_step)

    def step(start: mx.array, n: mx.array, h: mx.array) -> States:
        rz, hn = gates.split(gates.times(start, h), [2])
        r, z = gates.split(_tanh(rz) if quick else rz, 2)
        return (cell(r, z, n, hn, h),)

    given = product(None, x, w_ih.T, b_ih)
    rest = mx.zeros((units,), x.dtype) if b_hh is None else b_hh[2 * units :]
    before = given[..., : 2 * units] if b_hh is None else given[..., : 2 * units] + b_hh[: 2 * units]
    starts = mx.concatenate([before, mx.broadcast_to(rest, (*x.shape[:2], units))], axis=-1)
    inputs = gates.of(starts), gates.of(given[..., 2 * units :])
    return _run(step, len(x), inputs, (gates.of(states[0][None]),), reverse, core)


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
        """One layer of `torch.nn.RNN` in one direction: as `lstm_steps`, with h alone and one gate."""
        gates = _Gates(w_hh, x.shape[1], 1, core)
        given = product(None, x, w_ih.T, _sum(b_ih, b_hh))

        def step(given: mx.array, h: mx.array) -> States:
            return (activation(gates.times(given, h)),)

        return _run(step, len(x), [gates.of(given)], (gates.of(states[0][None]),), reverse, core)

    return run


rnn_relu_steps = _rnn(nn.relu)
rnn_tanh_steps = _rnn(lambda x: _tanh(x) if _lowered(x) else mx.tanh(x))


# Gates.


def lstm_gates(gates: mx.array, c: mx.array) -> tuple[mx.array, mx.array]:
    """The new h and c (batch, units) of gates (batch, 4 x units) before their functions."""
    return _compiled(_lstm_step)(*mx.split(gates, 4, axis=-1), c)


def _lstm_step(i: mx.array, f: mx.array, g: mx.array, o: mx.array, c: mx.array) -> tuple[mx.array, mx.array]:
    c = mx.sigmoid(f) * c + mx.sigmoid(i) * mx.tanh(g)
    return mx.sigmoid(o) * mx.tanh(c), c


def gru_gates(given: mx.array, recurrent: mx.array, h: mx.array) -> mx.array:
    """The new h (batch, units) of what input and state give to the gates, (batch, 3 x units) each."""
    (r, z, n), (hr, hz, hn) = (mx.split(each, 3, axis=-1) for each in (given, recurrent))
    return _compiled(_gru_step)(r + hr, z + hz, n, hn, h)


def _gru_step(r: mx.array, z: mx.array, n: mx.array, hn: mx.array, h: mx.array) -> mx.array:
    n = mx.tanh(n + mx.sigmoid(r) * hn)
    return n + mx.sigmoid(z) * (h - n)


# Many steps in float32 on the Linux CPU backend. There MLX's exponentials are scalar calls, and its compiler ends a
# kernel where expressions get deep: hence one tanh for all gates, as a quotient of polynomials, which vectorises.

# tanh(x) = x P(x^2) / Q(x^2) for |x| <= 9, with an error of 3.3e-7 in float32; a minimax fit of our own.
TANH_P = (0.99999997945575, 0.13381029688748, 0.003495592857029652, 2.0609156277846917e-05, 1.3354755668288452e-08)
TANH_Q = (1.0, 0.4671434528354714, 0.025877000407867383, 0.00032856423939195722, 7.776598652442476e-07)


def _polynomial(x: mx.array, square: mx.array, c: tuple[float, ...]) -> mx.array:
    return (c[0] + c[1] * x) + square * ((c[2] + c[3] * x) + square * c[4])


def _rational_tanh(x: mx.array, scale: mx.array | None = None) -> mx.array:
    """tanh(x), times the scale: as deep as the compiler lets a kernel be, with it or without."""
    x = mx.where(mx.abs(x) > 9.0, mx.sign(x) * 9.0, x)
    square = x * x
    fourth = square * square
    scaled = x if scale is None else x * scale
    return scaled * _polynomial(square, fourth, TANH_P) / _polynomial(square, fourth, TANH_Q)


def _tanh(x: mx.array) -> mx.array:
    return _compiled(_rational_tanh)(x)


def _quick_lstm(i: mx.array, f: mx.array, g: mx.array, o: mx.array, c: mx.array) -> tuple[mx.array, mx.array]:
    """`_lstm_step` of i, f and o as 2 sigmoid - 1, and g after its tanh."""
    c = _compiled(_new_c)(i, f, g, c)
    return _compiled(_opened)(o, c), c


def _new_c(i: mx.array, f: mx.array, g: mx.array, c: mx.array) -> mx.array:
    return 0.5 * ((c + f * c) + (g + i * g))


def _opened(o: mx.array, c: mx.array) -> mx.array:
    return _rational_tanh(c, 0.5 + 0.5 * o)


def _quick_gru(r: mx.array, z: mx.array, n: mx.array, hn: mx.array, h: mx.array) -> mx.array:
    """`_gru_step` of r and z as 2 sigmoid - 1."""
    n = _tanh(_compiled(_before_n)(n, r, hn))
    return _compiled(_new_h)(n, z, h)


def _before_n(n: mx.array, r: mx.array, hn: mx.array) -> mx.array:
    return n + 0.5 * (hn + r * hn)


def _new_h(n: mx.array, z: mx.array, h: mx.array) -> mx.array:
    return 0.5 * ((n + h) + z * (h - n))


def _is_quick(x: mx.array) -> bool:
    return len(x) >= MANY_STEPS and _lowered(x)


def _lowered(x: mx.array) -> bool:
    return x.dtype == mx.float32 and linux_cpu() and can_compile()


@lru_cache(maxsize=16)
def _compiled(function: Callable) -> Callable:
    return mx.compile(function)
