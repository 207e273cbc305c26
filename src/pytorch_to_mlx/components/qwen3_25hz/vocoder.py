"""From a mel spectrogram to sound: modeling_qwen3_tts_tokenizer_v1.py, Qwen3TTSTokenizerV1DecoderBigVGANModel.

BigVGAN (arXiv:2206.04658) whose dilated convolutions are causal, and in the first two stages all of a block's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.components.qwen3_25hz.config import VocoderConfig
from pytorch_to_mlx.layers.antialiasing import AntialiasedSnake
from pytorch_to_mlx.layers.causal import CausalConv1d
from pytorch_to_mlx.layers.convolution import Conv1d, ConvTranspose1d

CAUSAL_STAGES = 2
PIECE = 400  # frames
ACTIVATION_REACH = 6  # samples that an activation hears on either side
LEAST_DECIBELS, REFERENCE_DECIBELS = -115.0, 20.0


class Block(nn.Module):
    """Dilated convolutions, each followed by a plain one, in a chain whose every pair is added to the input.

    Unlike BigVGAN's, a pair is given what the one before gave, not the sum so far.
    """

    def __init__(self, channels: int, kernel: int, dilations: Sequence[int], *, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.convs1 = [CausalConv1d(channels, channels, kernel, dilation=dilation) for dilation in dilations]
        if causal:
            self.convs2 = [CausalConv1d(channels, channels, kernel) for _ in dilations]
            self.pre_conv = Conv1d(channels, channels, kernel, padding=kernel // 2)
            self.pre_act = AntialiasedSnake(channels)
        else:
            self.convs2 = [Conv1d(channels, channels, kernel, padding=kernel // 2) for _ in dilations]
        self.activations = [AntialiasedSnake(channels) for _ in range(2 * len(dilations))]

    def __call__(self, x: mx.array) -> mx.array:
        """(batch, steps, channels) to the same."""
        hidden = self.pre_act(self.pre_conv(x)) if self.causal else x
        for i, (first, second) in enumerate(zip(self.convs1, self.convs2, strict=True)):
            hidden = second(self.activations[2 * i + 1](first(self.activations[2 * i](hidden))))
            x = x + hidden
        return x


class Vocoder(nn.Module):
    """Stages of upsampling, each followed by the mean of its blocks."""

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        self.config = config
        self.conv_pre = Conv1d(config.mels, config.channels, 5, padding=2)
        self.ups: list[list[ConvTranspose1d]] = []
        self.resblocks: list[Block] = []
        channels = config.channels
        for stage, (rate, kernel) in enumerate(zip(config.rates, config.kernels, strict=True)):
            self.ups.append([ConvTranspose1d(channels, channels // 2, kernel, rate, (kernel - rate) // 2)])
            channels //= 2
            self.resblocks += [
                Block(channels, size, dilations, causal=stage < CAUSAL_STAGES)
                for size, dilations in zip(config.block_kernels, config.dilations, strict=True)
            ]
        self.activation_post = AntialiasedSnake(channels)
        self.conv_post = Conv1d(channels, 1, 7, padding=3, bias=False)

    def __call__(self, mel: mx.array) -> mx.array:
        """Logarithms of magnitudes, (batch, frames, mels), to samples, (batch, frames * prod(rates)) float32."""
        x = self.conv_pre(_scaled(mel.astype(mx.float32)).astype(self.conv_pre.weight.dtype))
        count = len(self.config.block_kernels)
        for stage, (up,) in enumerate(self.ups):
            x = up(x)
            first, *others = (block(x) for block in self.resblocks[stage * count : (stage + 1) * count])
            x = sum(others, first) / count
        x = self.conv_post(self.activation_post(x))[..., 0].astype(mx.float32)
        return mx.clip(x, -1, 1)

    @property
    def reach(self) -> int:
        """How many frames before and after its own a sample hears at most."""
        config, rate, reach = self.config, 1, 3
        for up, kernel in zip(config.rates, config.kernels, strict=True):
            reach += -(-kernel // rate)
            rate *= up
            pairs = zip(config.block_kernels, config.dilations, strict=True)
            heard = max((size - 1) * (sum(dilations) + len(dilations) + 1) for size, dilations in pairs)
            reach += -(-(heard + 7 * ACTIVATION_REACH) // rate)
        return reach

    def in_pieces(self, mel: mx.array) -> mx.array:
        """The same, of long spectra in pieces, which takes less memory."""
        frames, reach, rate, pieces = mel.shape[1], self.reach, math.prod(self.config.rates), []
        for start in range(0, frames, PIECE):
            first = max(start - reach, 0)
            piece = self(mel[:, first : start + PIECE + reach])[:, (start - first) * rate :][:, : PIECE * rate]
            mx.eval(piece)
            pieces.append(piece)
        return mx.concatenate(pieces, axis=1)


def _scaled(mel: mx.array) -> mx.array:
    """Decibels between the least and none, as -1 to 1."""
    decibels = mx.maximum(mel * (20 / math.log(10)), LEAST_DECIBELS) - REFERENCE_DECIBELS
    return mx.clip(2 * (decibels - LEAST_DECIBELS) / -LEAST_DECIBELS - 1, -1, 1)
