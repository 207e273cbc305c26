"""Activations between a low-pass upsampling and downsampling by two, as BigVGAN has them (arXiv:2206.04658).

Both filters are short and the same for all channels. Samples at twice the rate are never interleaved: the even and the
odd ones are each half of the input's filter, and each meets half of the output's.
"""

from __future__ import annotations

from functools import cache

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from pytorch_to_mlx.layers.convolution import conv1d
from pytorch_to_mlx.layers.snake import SnakeBeta

TAPS = 12
HALF = TAPS // 2
TRANSITION = 0.3  # half of the band in which the filters begin to stop, of the sampling rate


class AntialiasedSnake(nn.Module):
    """SnakeBeta at twice the rate of its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.act = SnakeBeta(channels)

    def __call__(self, x: mx.array) -> mx.array:
        """(batch, time, channels) to the same; at the ends the nearest sample is repeated."""
        even = self.act(_filtered(_held(x, 3, 2), 2 * _taps()[::-2]))
        odd = self.act(_filtered(_held(x, 2, 3), 2 * _taps()[-2::-2]))
        first, last = even[:, :1], odd[:, -1:]
        # Output t is the sum of samples 2 t - 5 to 2 t + 6, each times its tap.
        evens = mx.concatenate([first, first, even, last, last, last], axis=1)
        odds = mx.concatenate([first, first, first, odd, last, last], axis=1)
        return _filtered(evens, _taps()[1::2]) + _filtered(odds, _taps()[::2])


def _held(x: mx.array, before: int, after: int) -> mx.array:
    return mx.pad(x, [(0, 0), (before, after), (0, 0)], "edge")


def _filtered(x: mx.array, taps: np.ndarray) -> mx.array:
    """(batch, time, channels) to (batch, time - 5, channels), every channel by the same six taps."""
    weight = mx.broadcast_to(mx.array(taps.astype(np.float32))[None, :, None], (x.shape[-1], HALF, 1))
    return conv1d(x, weight.astype(x.dtype), groups=x.shape[-1])


@cache
def _taps() -> np.ndarray:
    """A sinc that passes half of the frequencies, in a Kaiser window; they add up to 1."""
    attenuation = 2.285 * (HALF - 1) * np.pi * 4 * TRANSITION + 7.95  # in decibels: Kaiser's formulas
    taps = np.kaiser(TAPS, 0.1102 * (attenuation - 8.7)) * np.sinc(0.5 * (np.arange(-HALF, HALF) + 0.5))
    return taps / taps.sum()
