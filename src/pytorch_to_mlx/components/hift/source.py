"""The neural source filter's excitation (Wang et al. 2019, arXiv:1904.12088): sines at F0 and its harmonics, and noise.

As SineGen and SourceModuleHnNSF of chatterbox/models/s3gen/hifigan.py compute it, but for how phase accumulates:
upstream sums cycles in floating point and takes the fraction, which costs it a thousandth of a cycle within seconds.
From 47 Hz on, a float32 step of F0 / rate is a whole number of 2^-32 cycles: integers of 32 bits, which wrap around as
phases do, sum those without any error.
"""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.layers import elementwise

RATE = 24000
HOP = 480
HARMONICS = 9  # the fundamental is the first
AMPLITUDE = 0.1
VOICED_ABOVE = 10.0  # Hz
VOICED_NOISE = 0.003
UNVOICED_NOISE = AMPLITUDE / 3

TURN = 2.0**32


def excitation(f0: mx.array, sines: mx.array, noise: mx.array) -> mx.array:
    """Hz (1, T), sines (1, T, samples of a frame, 9) and N(0, 1) (1, T * samples, 9) to what these make together.

    Sines where it is voiced, with a little noise; louder noise in the other frames.
    """
    voiced = (f0 > VOICED_ABOVE).astype(mx.float32)[..., None]
    loudness = mx.stack([voiced * AMPLITUDE, voiced * VOICED_NOISE + (1 - voiced) * UNVOICED_NOISE])[..., None]
    mixed = sines * loudness[0] + noise.reshape(sines.shape) * loudness[1]
    return mixed.reshape(noise.shape)


class SineGen(nn.Module):
    """Sines in voiced frames, with a little noise; louder noise in the others. It has no parameters."""

    def __call__(self, f0: mx.array, phase: mx.array, noise: mx.array, turns: mx.array) -> tuple[mx.array, mx.array]:
        """Hz (1, T), radians (1, 9), N(0, 1) (1, T * 480, 9), and 2^-32 cycles (1, 9) that have passed before.

        Returns:
            (1, T * 480, 9), and the cycles that have passed now.
        """
        steps = f0[..., None] * mx.arange(1, HARMONICS + 1, dtype=mx.float32) / RATE
        steps = ((steps - mx.floor(steps)) * TURN).astype(mx.uint32)
        ends = turns[:, None] + mx.cumsum(steps * HOP, axis=1)
        ahead = mx.arange(HOP - 1, -1, -1, dtype=mx.uint32)[:, None]  # samples up to the end of the frame
        at = ends[:, :, None] - steps[:, :, None] * ahead
        angles = at.view(mx.int32).astype(mx.float32) * (2 * math.pi / TURN)
        offset = mx.concatenate([mx.zeros_like(phase[:, :1]), phase[:, 1:]], axis=1)
        sines = elementwise.sin(angles + offset[:, None, None])
        return excitation(f0, sines, noise), ends[:, -1]


class Source(nn.Module):
    """Sines merged into one excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.l_sin_gen = SineGen()
        self.l_linear = nn.Linear(HARMONICS, 1)

    def __call__(self, f0: mx.array, phase: mx.array, noise: mx.array, turns: mx.array) -> tuple[mx.array, mx.array]:
        """As `SineGen`, but (1, T * 480, 1) in [-1, 1]."""
        sines, turns = self.l_sin_gen(f0, phase, noise, turns)
        return elementwise.tanh(self.l_linear(sines)), turns
