"""The neural source filter's excitation of Kokoro: sines at F0 and its harmonics, and noise (kokoro/istftnet.py).

As SineGen and SourceModuleHnNSF compute it, but for how phase accumulates: upstream sums cycles in floating point and
loses a thousandth of a cycle within seconds; integers of 32 bits, which wrap around as phases do, sum them exactly.
Between the middles of frames the phase goes on linearly, before the first and after the last it stands still.
"""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.components.hift.source import HARMONICS, excitation
from pytorch_to_mlx.layers import elementwise
from pytorch_to_mlx.layers.fourier import ShortFourier
from pytorch_to_mlx.layers.linear import Linear
from pytorch_to_mlx.models.kokoro.config import RATE, GeneratorConfig
from pytorch_to_mlx.parity import tap

HALF_TURN = 2.0**31


class SineGen(nn.Module):
    """Sines in voiced frames, with a little noise; louder noise in the others. It has no parameters."""

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.samples = samples

    def __call__(self, f0: mx.array, noise: mx.array) -> mx.array:
        """Hz (1, T) and N(0, 1) (1, T * samples, 9) to (1, T * samples, 9)."""
        return excitation(f0, elementwise.sin(self._angles(f0)), noise)

    def _angles(self, f0: mx.array) -> mx.array:
        """Radians between -pi and pi, (1, T, samples, 9), where harmonics are in each sample of each frame."""
        hertz = f0[..., None] * mx.arange(1, HARMONICS + 1, dtype=mx.float32)
        cycles = hertz / RATE
        # In 2^-31 cycles, so that half a sample's step is a whole number of 2^-32.
        steps = ((cycles - mx.floor(cycles)) * HALF_TURN).astype(mx.uint32)
        middles = mx.cumsum(steps, axis=1) * (2 * self.samples)
        following = mx.concatenate([steps[:, 1:], mx.zeros_like(steps[:, :1])], axis=1)
        first = mx.broadcast_to(middles[:, :1, None], (*middles.shape[:1], 1, self.samples // 2, HARMONICS))
        half_samples = mx.arange(1, 2 * self.samples, 2, dtype=mx.uint32)[:, None]  # after the middle of a frame
        between = middles[:, :, None] + following[:, :, None] * half_samples
        between = between.reshape(1, 1, -1, HARMONICS)[:, :, : f0.shape[1] * self.samples - self.samples // 2]
        turns = mx.concatenate([first, between], axis=2).reshape(1, -1, self.samples, HARMONICS)
        return turns.view(mx.int32).astype(mx.float32) * (math.pi / HALF_TURN)


class Source(nn.Module):
    """Sines merged into one excitation, and its short transforms."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.fourier = ShortFourier(config.gen_istft_n_fft)
        self.l_sin_gen = SineGen(config.samples)
        self.l_linear = Linear(HARMONICS, 1)

    def __call__(self, f0: mx.array, noise: mx.array) -> mx.array:
        """As `SineGen`, but (1, T * samples, 1) in [-1, 1]."""
        sines = self.l_sin_gen(f0, noise)
        return elementwise.tanh(self.l_linear(sines.astype(self.l_linear.weight.dtype)).astype(mx.float32))

    def harmonics(self, source: mx.array) -> mx.array:
        """Magnitudes and phases of the source, (1, samples, 1) to (1, frames, 2 * bins)."""
        spectrum = tap("spectrum", self.fourier.transform(source[0, :, 0]))
        real, imaginary = mx.split(spectrum, 2, axis=-1)
        # The lowest and the highest have no imaginary part, of whose sign rounding would decide between pi and -pi.
        inner = mx.arctan2(imaginary[:, 1:-1], real[:, 1:-1])
        ends = mx.where(real < 0, mx.array(mx.pi, real.dtype), mx.array(0.0, real.dtype))
        phase = mx.concatenate([ends[:, :1], inner, ends[:, -1:]], axis=-1)
        return mx.concatenate([mx.sqrt(mx.square(real) + mx.square(imaginary)), phase], axis=-1)[None]
