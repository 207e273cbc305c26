"""The estimator of the flow's velocity: chatterbox/models/s3gen/decoder.py, with matcha/decoder.py and transformer.py.

A U-Net of one level (Matcha-TTS, Mehta et al. 2024, arXiv:2309.03199) whose convolutions are causal and whose attention
is not. With one level nothing is downsampled: where others halve the rate, it has a convolution.
"""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from pytorch_to_mlx.layers.attention import attention
from pytorch_to_mlx.layers.convolution import Conv1d
from pytorch_to_mlx.layers.elementwise import gelu, mish, silu
from pytorch_to_mlx.layers.linear import Linear

MELS = 80
INPUTS = 4 * MELS
"""The state, the encoder's frames, the speaker and the prompt, 80 channels each."""
CHANNELS = 256
TIME = 4 * CHANNELS
HEADS = 8
HEAD_SIZE = 64
TIME_SCALE = 1000


class CausalConv1d(Conv1d):
    """A convolution of three steps that sees only the past."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3)

    def __call__(self, x: mx.array) -> mx.array:
        return super().__call__(mx.pad(x, [(0, 0), (2, 0), (0, 0)]))


class CausalBlock(nn.Module):
    """Convolution, norm over channels, Mish (CausalBlock1D)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = CausalConv1d(in_channels, out_channels)
        self.norm = nn.LayerNorm(out_channels)

    def __call__(self, x: mx.array) -> mx.array:
        return mish(self.norm(self.conv(x)))


class CausalResnetBlock(nn.Module):
    """Two blocks with the time added between them, and a residual connection (CausalResnetBlock1D)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.mlp = Linear(TIME, out_channels)
        self.block1 = CausalBlock(in_channels, out_channels)
        self.block2 = CausalBlock(out_channels, out_channels)
        self.res_conv = Linear(in_channels, out_channels)

    def __call__(self, x: mx.array, time: mx.array) -> mx.array:
        """(batch, frames, in) and the activated time embedding (1, 1024) to (batch, frames, out)."""
        return self.block2(self.block1(x) + self.mlp(time)) + self.res_conv(x)


class SelfAttention(nn.Module):
    """Attention of all frames to all frames (diffusers' Attention)."""

    def __init__(self) -> None:
        super().__init__()
        self.to_qkv = Linear(CHANNELS, 3 * HEADS * HEAD_SIZE, bias=False)
        self.to_out = Linear(HEADS * HEAD_SIZE, CHANNELS)

    def __call__(self, x: mx.array) -> mx.array:
        q, k, v = self.to_qkv(x).reshape(*x.shape[:2], 3, HEADS, HEAD_SIZE).transpose(2, 0, 3, 1, 4)
        return self.to_out(attention(q, k, v, scale=HEAD_SIZE**-0.5).swapaxes(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers with the exact GELU between them."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = Linear(CHANNELS, 4 * CHANNELS)
        self.project = Linear(4 * CHANNELS, CHANNELS)

    def __call__(self, x: mx.array) -> mx.array:
        return self.project(gelu(self.expand(x)))


class TransformerBlock(nn.Module):
    """Attention and a feed-forward layer, each after a norm (BasicTransformerBlock)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(CHANNELS)
        self.attn1 = SelfAttention()
        self.norm3 = nn.LayerNorm(CHANNELS)
        self.ff = FeedForward()

    def __call__(self, x: mx.array) -> mx.array:
        x = x + self.attn1(self.norm1(x))
        return x + self.ff(self.norm3(x))


class Block(nn.Module):
    """A residual block and four transformer blocks."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.resnet = CausalResnetBlock(in_channels, CHANNELS)
        self.transformers = [TransformerBlock() for _ in range(4)]

    def __call__(self, x: mx.array, time: mx.array) -> mx.array:
        x = self.resnet(x, time)
        for transformer in self.transformers:
            x = transformer(x)
        return x


class TimeEmbedding(nn.Module):
    """Sines and cosines of a time through two linear layers (SinusoidalPosEmb, TimestepEmbedding)."""

    def __init__(self) -> None:
        super().__init__()
        self.linear_1 = Linear(INPUTS, TIME)
        self.linear_2 = Linear(TIME, TIME)

    def __call__(self, times: mx.array) -> mx.array:
        """Times (n,) float32, from 0 to 1, to (n, 1024)."""
        return self.linear_2(silu(self.linear_1(encode_times(times).astype(self.linear_1.weight.dtype))))


class ConditionalDecoder(nn.Module):
    """The velocity of a state at a time."""

    def __init__(self, meanflow: bool) -> None:
        super().__init__()
        self.time_mlp = TimeEmbedding()
        if meanflow:
            self.time_embed_mixer = Linear(2 * TIME, TIME, bias=False)
        self.down_block = Block(INPUTS)
        self.down_conv = CausalConv1d(CHANNELS, CHANNELS)
        self.mid_blocks = [Block(CHANNELS) for _ in range(12)]
        self.up_block = Block(2 * CHANNELS)
        self.up_conv = CausalConv1d(CHANNELS, CHANNELS)
        self.final_block = CausalBlock(CHANNELS, CHANNELS)
        self.final_proj = Linear(CHANNELS, MELS)

    def embed_times(self, times: mx.array) -> mx.array:
        """What the blocks need to know of each step between the times (n + 1,) float32: (n, 1024), already activated.

        The standard estimator knows the time at which a step starts, meanflow's also the one at which it ends.
        """
        embedded = self.time_mlp(times)
        starts = embedded[:-1]
        if "time_embed_mixer" in self:
            starts = self.time_embed_mixer(mx.concatenate([starts, embedded[1:]], axis=-1))
        return mish(starts)

    def __call__(self, x: mx.array, context: mx.array, time: mx.array) -> mx.array:
        """The velocity.

        Args:
            x: the state (1, frames, 80).
            context: the encoder's frames, the speaker and the prompt's mel spectrogram, (batch, frames, 240).
            time: of this step, from `embed_times`, (1, 1024).

        Returns:
            (batch, frames, 80) float32, for each of the contexts.
        """
        x = mx.broadcast_to(x, (*context.shape[:2], MELS)).astype(context.dtype)
        x = mx.concatenate([x, context], axis=-1)
        skip = self.down_block(x, time)
        x = self.down_conv(skip)
        for block in self.mid_blocks:
            x = block(x, time)
        x = mx.concatenate([x, skip], axis=-1)
        x = self.up_conv(self.up_block(x, time))
        return self.final_proj(self.final_block(x)).astype(mx.float32)


def encode_times(times: mx.array) -> mx.array:
    """Sines, then cosines of the times (n,) at 160 rates: (n, 320) float32."""
    half = INPUTS // 2
    rates = np.exp(np.arange(half, dtype=np.float32) * np.float32(-math.log(10000) / (half - 1)))
    phases = (TIME_SCALE * times)[:, None] * mx.array(rates)
    return mx.concatenate([mx.sin(phases), mx.cos(phases)], axis=-1)
