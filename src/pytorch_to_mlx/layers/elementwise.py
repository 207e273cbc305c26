"""Elementwise functions: on the Linux CPU backend polynomials that its compiler vectorises, elsewhere MLX's own.

MLX's functions are scalar calls there, 15 to 75 ns an element; these take 2 to 5. Each docstring says the largest error
found against float64 and the ratio of MLX's time to ours at 2^20 elements (benchmarks/layers.py). Infinities and nan
give what they give in MLX. Other dtypes than float32, small arrays and other devices take MLX's own operation.

Reduction and exponent bits follow Cody and Waite (Software Manual for the Elementary Functions, 1980); the
coefficients are minimax fits of our own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.layers.device import can_compile, linux_cpu

SMALL = 4096  # elements, below which the calls cost more than they save

Function = Callable[[mx.array], mx.array]


def exp(x: mx.array) -> mx.array:
    """e^x; 0 where that is below 1.7e-38. Relative error 1e-7; 6 times faster."""
    return _fast_exp(x) if _lowered(x) else mx.exp(x)


def sigmoid(x: mx.array) -> mx.array:
    """1 / (1 + e^-x). Relative error 2e-7 (MLX's own 4e-6); 8 times faster."""
    return _fast_sigmoid(x) if _lowered(x) else mx.sigmoid(x)


def silu(x: mx.array) -> mx.array:
    """x sigmoid(x). Relative error 3e-7; 7 times faster."""
    return _fast_silu(x) if _lowered(x) else nn.silu(x)


def tanh(x: mx.array) -> mx.array:
    """Hyperbolic tangent. Relative error 2e-7; 7 times faster."""
    return _fast_tanh(x) if _lowered(x) else mx.tanh(x)


def elu(x: mx.array) -> mx.array:
    """x where positive, e^x - 1 elsewhere. Relative error 1e-7; 7 times faster."""
    return _fast_elu(x) if _lowered(x) else mx.where(x > 0, x, mx.expm1(mx.minimum(x, 0)))


def mish(x: mx.array) -> mx.array:
    """x tanh(log(1 + e^x)). Relative error 3e-7; 20 times faster."""
    return _fast_mish(x) if _lowered(x) else nn.mish(x)


def gelu_tanh(x: mx.array) -> mx.array:
    """x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))). Error 2e-7 of |x|; 8 times faster."""
    return _fast_gelu_tanh(x) if _lowered(x) else nn.gelu_approx(x)


def gelu(x: mx.array) -> mx.array:
    """x / 2 (1 + erf(x / sqrt(2))). Error 2e-7 of |x|; 12 times faster."""
    return _fast_gelu(x) if _lowered(x) else nn.gelu(x)


def sin(x: mx.array) -> mx.array:
    """Sine. Error 1.5e-7 for |x| < 1e5, 2.1e-7 up to 8e5, nan beyond; 9 times faster."""
    return _fast_sin(x) if _lowered(x) else mx.sin(x)


def softmax(x: mx.array, axis: int = -1) -> mx.array:
    """e^x over its sum along `axis`; slices of -inf alone give nan, as in torch.

    Error 6e-7 of the largest (MLX's own 4e-6 in rows of 600); 3 times faster.
    """
    if not _lowered(x):
        return mx.softmax(x, axis=axis, precise=True)
    powers = _fast_exp_to_88(x - mx.max(x, axis=axis, keepdims=True))
    return powers * (1 / _sums(powers, axis))


def logsumexp(x: mx.array) -> mx.array:
    """The logarithm of the sum of e^x along the last axis; of -inf alone, -inf. Error 6e-7; 4 times faster."""
    if not _lowered(x):
        return mx.logsumexp(x, axis=-1)
    most = mx.max(x, axis=-1, keepdims=True)
    finite = mx.where(mx.isinf(most), 0.0, most)
    return (finite + mx.log(_sums(_fast_exp_to_88(x - finite), -1)))[..., 0]


LANES = 32


def _sums(x: mx.array, axis: int) -> mx.array:
    """Sums along `axis`, which stays with length one. Along the last in lanes: more exact than MLX, and faster."""
    length = x.shape[axis]
    if axis not in (-1, x.ndim - 1) or length < 2 * LANES:
        return mx.sum(x, axis=axis, keepdims=True)
    x = mx.contiguous(x)
    rows, turns = x.size // length, length // LANES
    total = mx.as_strided(x, (rows, turns, LANES), (length, LANES, 1)).sum(axis=1).sum(axis=1)
    if rest := length % LANES:  # MLX 0.32.4 hangs on a sum over nothing of a strided view
        total = total + mx.as_strided(x, (rows, rest), (length, 1), turns * LANES).sum(axis=1)
    return total.reshape(*x.shape[:-1], 1)


def _lowered(x: mx.array) -> bool:
    return x.dtype == mx.float32 and x.size >= SMALL and linux_cpu() and can_compile()


Part = Callable[..., Any]


def _compiled(*parts: Part) -> Callable[[int], tuple[Part, ...]]:
    """The compiled forms of `parts` for flat arrays of a size.

    Compiled for any shape at once, a scalar would cost two operations more, and the compiler cuts its kernels where
    they get deep: three where one does. Compiled by shape, its cache would keep 17 KB for each ever seen: hence flat
    arrays, and the latest sizes only.
    """

    @lru_cache(maxsize=64)
    def of_size(size: int) -> tuple[Part, ...]:
        return tuple(mx.compile(part) for part in parts)

    return of_size


# --- from e^x -----------------------------------------------------------------------------------------------------
#
# e^x = 2^n e^r with |r| <= ln(2) / 2. Adding 1.5 2^23 + bias rounds x / ln(2) to the integer n and leaves n + bias in
# the low bits, which shifted into the exponent's place are 2^(n + bias - 127). The shift works on a `view`, which no
# compiled kernel holds: a kernel before, a kernel after. `where` with `sign` is what vectorises best of all that clips
# and keeps nan.

ROUND = 1.5 * 2**23
LN2 = (0.693115234375, 3.1946184945309415e-05)  # n times the first is exact
EXP = (0.4999999403953552, 0.1666651964187622, 0.04166839271783829, 0.008368756622076035, 0.0013814510311931372)
MOST = 88.0  # |argument|: 2^n has no bits left below and is 0, and too many above


def _clipped(x: mx.array, most: float = MOST) -> mx.array:
    return mx.where(mx.abs(x) > most, mx.sign(x) * most, x)


def _clipped_for_exp(x: mx.array) -> mx.array:
    """Between -87.6, where 2^(n - 1) has no bits left, and 88.9, where e^x is infinite."""
    return mx.where(mx.abs(x - 0.65) > 88.25, mx.sign(x) * 88.25 + 0.65, x)


def _elu_of(x: mx.array, power: mx.array, rest: mx.array) -> mx.array:
    d = (power - 1) + rest
    return mx.where(d > 0, x, d)


def _scaled_expm1(r: mx.array, power: mx.array) -> mx.array:
    """(e^r - 1) power, as a shallow tree."""
    square = r * r
    series = (EXP[0] + EXP[1] * r) + square * ((EXP[2] + EXP[3] * r) + square * EXP[4])
    return series * (square * power) + r * power


def _from_exp(
    argument: Function, finish: Callable[[mx.array, mx.array, mx.array], mx.array], bias: int = 127
) -> Function:
    """The function that `finish` makes of x, 2^(n + bias - 127) and that times e^r - 1, for e to the `argument(x)`."""

    def reduced(x: mx.array) -> tuple[mx.array, mx.array]:
        x = argument(x)
        rounded = x * (1 / math.log(2)) + (ROUND + bias)
        n = rounded - (ROUND + bias)
        return (x - n * LN2[0]) - n * LN2[1], rounded

    def finished(x: mx.array, r: mx.array, power: mx.array) -> mx.array:
        return finish(x, power, _scaled_expm1(r, power))

    parts = _compiled(reduced, finished)

    def function(x: mx.array) -> mx.array:
        first, second = parts(x.size)
        flat = x.reshape(-1)
        r, rounded = first(flat)
        power = mx.left_shift(rounded.view(mx.uint32), 23).view(mx.float32)
        return second(flat, r, power).reshape(x.shape)

    return function


def _sigmoid_of(x: mx.array, power: mx.array, rest: mx.array) -> mx.array:
    return (power + rest) / ((power + 1) + rest)


def _times_sigmoid_of(x: mx.array, power: mx.array, rest: mx.array) -> mx.array:
    return x * ((power + rest) / ((power + 1) + rest))


def _mish_of(x: mx.array, e: mx.array) -> mx.array:
    """x tanh(log(1 + e)) = x (e + 2) / (e + 2 + 2 / e), which is neither infinite nor cancelled anywhere."""
    return x * ((e + 2) / ((e + 2) + 2 / e))


# By 2^(n - 1), since 2^128 cannot be held although e^x can.
_fast_exp = _from_exp(_clipped_for_exp, lambda x, half, rest: (half + rest) * 2, bias=126)
_fast_exp_to_88 = _from_exp(_clipped, lambda x, power, rest: power + rest)
_fast_sigmoid = _from_exp(_clipped, _sigmoid_of)
_fast_silu = _from_exp(_clipped, _times_sigmoid_of)
_fast_gelu_tanh = _from_exp(
    lambda x: _clipped(x * (math.sqrt(8 / math.pi) + x * x * (math.sqrt(8 / math.pi) * 0.044715))), _times_sigmoid_of
)
_fast_elu = _from_exp(_clipped, _elu_of)
_fast_tanh = _from_exp(lambda x: _clipped(x * 2), lambda x, power, rest: ((power - 1) + rest) / ((power + 1) + rest))
_mish_parts = _compiled(_mish_of)


def _fast_mish(x: mx.array) -> mx.array:
    (last,) = _mish_parts(x.size)  # in one with what is before it, the compiler would cut at a worse place
    return last(x.reshape(-1), _fast_exp_to_88(x.reshape(-1))).reshape(x.shape)


# --- without it ---------------------------------------------------------------------------------------------------

# erf(x) / 2 = x P(x^2) / Q(x^2) with an error of 1e-8 up to REACH, where the quotient exceeds 1/2 and is cut.
REACH = 4.0
ERF_P = (0.564189509895, 0.096485226432, 0.0265420397612, 0.001938120636715, 0.000143745446564, 1.015445730865e-06)
ERF_Q = (1.0, 0.504347249121, 0.115166596240, 0.0151881796144, 0.00118973073315, 3.80316173407e-05)


def _polynomial(x: mx.array, square: mx.array, c: tuple[float, ...]) -> mx.array:
    """c0 + c1 x + ... + c5 x^5."""
    return (c[0] + c[1] * x) + square * ((c[2] + c[3] * x) + square * (c[4] + c[5] * x))


def _gelu_argument(x: mx.array) -> mx.array:
    return _clipped(x * math.sqrt(0.5), REACH)


def _half_erf(z: mx.array) -> mx.array:
    square = z * z
    fourth = square * square
    return z * _polynomial(square, fourth, ERF_P) / _polynomial(square, fourth, ERF_Q)


def _gelu_of(x: mx.array, half_erf: mx.array) -> mx.array:
    return x * (0.5 + _clipped(half_erf, 0.5))  # in halves, for 1 + _clipped(erf, 1.0) does not vectorise


# pi in parts of which n times the first two is exact for n < 2^18, and sin(r) = r + r^3 S(r^2) for |r| <= pi / 2.
PI = (3.125, 0.0166015625, -8.908910206761537e-06)
SIN = (-0.16666656732559204, 0.0083329938352108, -0.00019804952898994088, 2.5963977350329515e-06)
FARTHEST = 2**18 * math.pi


def _nearest_half_turn(x: mx.array) -> mx.array:
    """The angle between -pi / 2 and pi / 2 that has the same sine."""
    n = (x * (1 / math.pi) + ROUND) - ROUND
    half = n * 0.5
    odd = half - ((half + ROUND) - ROUND)  # 0, or 1/2 or -1/2
    too_far = x * (3.4028e38 / FARTHEST)  # infinite there, so that the difference below is nan instead of 0
    r = (((x - n * PI[0]) - n * PI[1]) - n * PI[2]) + (too_far - too_far)
    return r * (1 - 8 * (odd * odd))


def _sin_near(r: mx.array) -> mx.array:
    square = r * r
    series = (SIN[0] + SIN[1] * square) + square * square * (SIN[2] + SIN[3] * square)
    return r + r * square * series


_gelu_parts = _compiled(_gelu_argument, _half_erf, _gelu_of)
_sin_parts = _compiled(_nearest_half_turn, _sin_near)


def _fast_gelu(x: mx.array) -> mx.array:
    argument, half_erf, last = _gelu_parts(x.size)
    flat = x.reshape(-1)
    return last(flat, half_erf(argument(flat))).reshape(x.shape)


def _fast_sin(x: mx.array) -> mx.array:
    first, second = _sin_parts(x.size)
    return second(first(x.reshape(-1))).reshape(x.shape)
