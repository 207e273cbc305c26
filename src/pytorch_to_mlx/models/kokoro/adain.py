"""What a voice does to channels: StyleTTS 2's AdaIN (Li et al. 2023, arXiv:2306.07691), as kokoro/istftnet.py has it.

Everything is (batch, steps, channels); styles are (batch, numbers). A convolution before a norm has no bias: the norm
would take it away.
"""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.layers.convolution import Conv1d, ConvTranspose1d
from pytorch_to_mlx.layers.linear import Linear
from pytorch_to_mlx.layers.normalization import moments
from pytorch_to_mlx.layers.snake import Snake
from pytorch_to_mlx.models.kokoro.config import STYLE

EPSILON = 1e-5
SLOPE = 0.2


class AdaIN1d(nn.Module):
    """Each channel normed over the utterance, then scaled and shifted as the style says."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = Linear(STYLE, 2 * channels)

    def __call__(self, x: mx.array, style: mx.array) -> mx.array:
        """(batch, steps, channels) to the same."""
        scale, shift = mx.split(self.fc(style)[:, None], 2, axis=-1)
        mean, variance = moments(x, (1,))
        return (x - mean) * ((1 + scale) * mx.rsqrt(variance + EPSILON)) + shift


class AdainResBlk1d(nn.Module):
    """Two convolutions with AdaIN beside a shortcut; a transposed one before them may double the steps."""

    def __init__(self, inputs: int, outputs: int, *, upsample: bool = False) -> None:
        super().__init__()
        self.upsample = upsample
        self.conv1 = Conv1d(inputs, outputs, 3, padding=1, bias=False)
        self.conv2 = Conv1d(outputs, outputs, 3, padding=1)
        self.norm1, self.norm2 = AdaIN1d(inputs), AdaIN1d(outputs)
        if inputs != outputs:
            self.conv1x1 = Conv1d(inputs, outputs, 1, bias=False)
        if upsample:
            self.pool = ConvTranspose1d(inputs, inputs, 3, stride=2, padding=1, output_padding=1, groups=inputs)

    def __call__(self, x: mx.array, style: mx.array) -> mx.array:
        """(batch, steps, inputs) to (batch, steps or twice as many, outputs)."""
        y = nn.leaky_relu(self.norm1(x, style), SLOPE)
        if self.upsample:
            y, x = self.pool(y), mx.repeat(x, 2, axis=1)
        y = self.conv2(nn.leaky_relu(self.norm2(self.conv1(y), style), SLOPE))
        return (y + (self.conv1x1(x) if "conv1x1" in self else x)) * math.sqrt(0.5)


class AdaINResBlock1(nn.Module):
    """Three times AdaIN, Snake, dilated convolution, AdaIN, Snake, convolution, each time added to what came in."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs1 = [
            Conv1d(channels, channels, kernel, padding=kernel // 2 * dilation, dilation=dilation, bias=False)
            for dilation in dilations
        ]
        self.convs2 = [Conv1d(channels, channels, kernel, padding=kernel // 2) for _ in dilations]
        self.adain1, self.adain2 = ([AdaIN1d(channels) for _ in dilations] for _ in range(2))
        self.alpha1, self.alpha2 = ([Snake(channels) for _ in dilations] for _ in range(2))

    def __call__(self, x: mx.array, style: mx.array) -> mx.array:
        """(batch, steps, channels) to the same."""
        parts = (self.convs1, self.convs2, self.adain1, self.adain2, self.alpha1, self.alpha2)
        for dilated, plain, first, second, snake1, snake2 in zip(*parts, strict=True):
            y = dilated(snake1(first(x, style)))
            x = plain(snake2(second(y, style))) + x
        return x
