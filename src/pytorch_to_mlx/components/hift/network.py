"""HiFT: upsampling by 8, 5 and 3, each time joined by the source's spectrum, then an inverse Fourier transform by 4."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.components.hift.f0 import MELS, F0Predictor
from pytorch_to_mlx.components.hift.source import HARMONICS, HOP, RATE, Source
from pytorch_to_mlx.layers import elementwise
from pytorch_to_mlx.layers.convolution import Conv1d, ConvTranspose1d
from pytorch_to_mlx.layers.fourier import ShortFourier
from pytorch_to_mlx.layers.snake import Snake

__all__ = ["CONTEXT", "HOP", "RATE", "HiFT"]

FOURIER = ShortFourier(16)
CHANNELS = 512  # before the first upsampling; each halves them
UPSAMPLING = ((8, 16), (5, 11), (3, 7))  # rate, kernel size
DILATIONS = (1, 3, 5)
KERNELS = (3, 7, 11)
SOURCE_KERNELS = (7, 7, 11)
SOURCE_STRIDES = (15, 3, 1)  # from the spectrum's frames to those of each stage

CONTEXT = 16  # frames on either side, beyond which nothing reaches a frame of `decode`
PIECE = 2**20  # elements
REACH = 2 * (max(KERNELS) // 2) * (sum(DILATIONS) + len(DILATIONS))  # of a source block and a block after it

SLOPE = 0.1
LAST_SLOPE = 0.01
MAGNITUDE_LIMIT = 1e2
AUDIO_LIMIT = 0.99


class ResBlock(nn.Module):
    """Three times Snake, dilated convolution, Snake, convolution, each time added to what came in."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.convs1 = [
            Conv1d(channels, channels, kernel, padding=kernel // 2 * dilation, dilation=dilation)
            for dilation in DILATIONS
        ]
        self.convs2 = [Conv1d(channels, channels, kernel, padding=kernel // 2) for _ in DILATIONS]
        self.activations1 = [Snake(channels) for _ in DILATIONS]
        self.activations2 = [Snake(channels) for _ in DILATIONS]

    def __call__(self, x: mx.array) -> mx.array:
        layers = zip(self.activations1, self.convs1, self.activations2, self.convs2, strict=True)
        for first, dilated, second, plain in layers:
            x = x + plain(second(dilated(first(x))))
        return x


class HiFT(nn.Module):
    """The vocoder, for one utterance of T mel frames. It keeps no state: methods depend on their arguments alone."""

    def __init__(self) -> None:
        super().__init__()
        self.f0_predictor = F0Predictor()
        self.m_source = Source()
        self.conv_pre = Conv1d(MELS, CHANNELS, 7, padding=3)
        self.ups = []
        self.source_downs = []
        self.source_resblocks = []
        self.resblocks = []
        channels = CHANNELS
        for (rate, kernel), stride, source_kernel in zip(UPSAMPLING, SOURCE_STRIDES, SOURCE_KERNELS, strict=True):
            self.ups.append(ConvTranspose1d(channels, channels // 2, kernel, stride=rate, padding=(kernel - rate) // 2))
            channels //= 2
            down = (1, 1, 0) if stride == 1 else (2 * stride, stride, stride // 2)
            self.source_downs.append(Conv1d(2 * FOURIER.bins, channels, down[0], stride=down[1], padding=down[2]))
            self.source_resblocks.append(ResBlock(channels, source_kernel))
            self.resblocks += [ResBlock(channels, kernel) for kernel in KERNELS]
        self.conv_post = Conv1d(channels, 2 * FOURIER.bins, 7, padding=3)

    def predict_f0(self, mel: mx.array) -> mx.array:
        """Log-mel spectrum (1, T, 80), natural logarithm, to F0 (1, T) in Hz."""
        return self.f0_predictor(mel.astype(self.conv_pre.weight.dtype))

    def excite(self, f0: mx.array, phase: mx.array, noise: mx.array) -> mx.array:
        """The harmonic source of an F0 contour.

        Args:
            f0: (1, T) in Hz; frames of 10 Hz or less are unvoiced.
            phase: (1, 9), radians between -pi and pi where harmonics start; the fundamental starts at 0 all the same.
            noise: (1, T * 480, 9) of N(0, 1).

        Returns:
            (1, T * 480, 1) float32.
        """
        return self.excite_on(f0, phase, noise)[0]

    def excite_on(
        self, f0: mx.array, phase: mx.array, noise: mx.array, turns: mx.array | None = None
    ) -> tuple[mx.array, mx.array]:
        """`excite` for a contour that comes in parts: the same source, bit by bit.

        Args:
            f0, phase, noise: as in `excite`; the same phase for each part.
            turns: what the part before returned, None for the first.

        Returns:
            The source of this part, and the harmonics' cycles so far, (1, 9) uint32 in 2^-32 cycles.
        """
        return self.m_source(f0, phase, noise, mx.zeros((1, HARMONICS), mx.uint32) if turns is None else turns)

    def decode(self, mel: mx.array, source: mx.array) -> mx.array:
        """Log-mel spectrum (1, T, 80) and source (1, T * 480, 1) to samples (1, T * 480) float32 within 0.99."""
        dtype = self.conv_pre.weight.dtype
        spectrum = FOURIER.transform(source[0, :, 0])[None].astype(dtype)
        x = self.conv_pre(mel.astype(dtype))
        for i, up in enumerate(self.ups):
            x = up(nn.leaky_relu(x, SLOPE))
            if i == len(self.ups) - 1:  # a centred transform has a frame more than hops
                x = mx.concatenate([x[:, 1:2], x], axis=1)
            x = self._stage(i, x, self.source_downs[i](spectrum))
        x = self.conv_post(nn.leaky_relu(x, LAST_SLOPE))[0].astype(mx.float32)
        magnitude = mx.minimum(elementwise.exp(x[:, : FOURIER.bins]), MAGNITUDE_LIMIT)
        angle = elementwise.sin(x[:, FOURIER.bins :])
        spectrum = mx.concatenate([magnitude * mx.cos(angle), magnitude * mx.sin(angle)], axis=-1)
        return mx.clip(FOURIER.inverse(spectrum), -AUDIO_LIMIT, AUDIO_LIMIT)[None]

    def _stage(self, i: int, x: mx.array, source: mx.array) -> mx.array:
        """The blocks that follow an upsampling; long inputs in pieces, which gives the same within less memory."""
        size = max(PIECE // x.shape[-1], REACH)
        pieces = []
        for start in range(0, x.shape[1], size):
            first = max(start - REACH, 0)
            near = slice(first, start + size + REACH)
            mixed = x[:, near] + self.source_resblocks[i](source[:, near])
            narrow, middle, wide = (block(mixed) for block in self.resblocks[3 * i : 3 * i + 3])
            pieces.append(((narrow + middle + wide) / 3)[:, start - first : start - first + size])
        return mx.concatenate(pieces, axis=1)

    def __call__(self, mel: mx.array, phase: mx.array, noise: mx.array) -> mx.array:
        """Log-mel spectrum (1, T, 80) to samples (1, T * 480); `phase` and `noise` as in `excite`."""
        return self.decode(mel, self.excite(self.predict_f0(mel), phase, noise))
