"""Snake, x + sin(alpha x)^2 / alpha (Ziyin et al. 2020, arXiv:2006.08195), as the descendants of BigVGAN have it."""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.layers.device import can_compile, linux_cpu

LEAST = 1e-9  # upstream divides by alpha plus this

# The square has half the sine's period: f = t - round(t) is all that counts of t = alpha x / pi, and sin(pi f)^2 is
# f^2 times a polynomial in f^2, a minimax fit of our own, exact to 6e-9. Adding MAGIC rounds.
MAGIC = 1.5 * 2**23
FIT = (9.86960292, -32.46958112, 42.72538478, -30.08595313, 12.99073017, -3.27294571)


class Snake(nn.Module):
    """Snake with a frequency for each channel.

    On the Linux CPU backend, whose sine is a scalar call, by a polynomial: ten times faster at 2^20 float32, and within
    3e-7 of the largest |x| as long as |alpha x| < 2^22 (MLX's own: 1e-7).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = mx.ones((channels,))

    def __call__(self, x: mx.array) -> mx.array:
        """(..., channels) to the same."""
        if x.dtype == mx.float32 and linux_cpu() and can_compile():
            # Broadcasting is left outside, for the compiler vectorises contiguous arrays only. Where alpha is so small
            # that LEAST counts, its part in the sine does not, and x comes back whole.
            alpha = self.alpha + LEAST
            return _in_half_turns(x * (alpha / math.pi)) * (1 / alpha)
        return _snake(x, self.alpha)


class SnakeBeta(nn.Module):
    """x + sin(a x)^2 / b with a = e^alpha and b = e^beta for each channel, as BigVGAN (arXiv:2206.04658) has it.

    On the Linux CPU backend as `Snake` is computed there.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = mx.zeros((channels,))
        self.beta = mx.zeros((channels,))

    def __call__(self, x: mx.array) -> mx.array:
        """(..., channels) to the same."""
        alpha, scale = mx.exp(self.alpha), 1 / (mx.exp(self.beta) + LEAST)
        if x.dtype == mx.float32 and linux_cpu() and can_compile():
            return x + _squared_sine(x * (alpha / math.pi)) * scale
        return x + mx.square(mx.sin(x * alpha)) * scale


def _snake(x: mx.array, alpha: mx.array) -> mx.array:
    return x + mx.square(mx.sin(x * alpha)) / (alpha + LEAST)


def _in_half_turns(t: mx.array) -> mx.array:
    """pi t + sin(pi t)^2, in chains short enough for one kernel: the compiler cuts at a depth of eleven."""
    f = t - ((t + MAGIC) - MAGIC)
    s = f * f
    low = (FIT[1] * s + FIT[0]) * s + math.pi * t
    return low + _high(s)


def _squared_sine(t: mx.array) -> mx.array:
    """sin(pi t)^2."""
    f = t - ((t + MAGIC) - MAGIC)
    s = f * f
    return (FIT[1] * s + FIT[0]) * s + _high(s)


def _high(s: mx.array) -> mx.array:
    """The terms of the fit from s^3 on."""
    return ((FIT[5] * s + FIT[4]) * (s * s) + (FIT[3] * s + FIT[2])) * (s * s * s)


_snake = mx.compile(_snake, shapeless=True)
_in_half_turns = mx.compile(_in_half_turns, shapeless=True)
_squared_sine = mx.compile(_squared_sine, shapeless=True)
