"""The token encoder: chatterbox/models/s3gen/transformer/upsample_encoder.py, with encoder_layer.py and attention.py.

A Conformer (Gulati et al. 2020, arXiv:2005.08100) without its convolution modules, with the relative positions of
Transformer-XL (Dai et al. 2019, arXiv:1901.02860), which doubles the frame rate on the way. Upstream runs it with one
sequence, no chunks and no padding: its masks are all ones, and there are none here.
"""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from pytorch_to_mlx.layers.attention import attention
from pytorch_to_mlx.layers.convolution import Conv1d
from pytorch_to_mlx.layers.elementwise import silu

SIZE = 512
HEADS = 8
HIDDEN = 2048
LOOK_AHEAD = 3
"""Tokens that the encoder looks ahead."""
UPSAMPLING = 2
"""Frames per token."""


class Embedding(nn.Module):
    """A linear layer, a norm, and the scale that balances positions (LinearNoSubsampling)."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(SIZE, SIZE)
        self.norm = nn.LayerNorm(SIZE)

    def __call__(self, x: mx.array) -> mx.array:
        return self.norm(self.linear(x)) * math.sqrt(SIZE)


class LookAhead(nn.Module):
    """Two convolutions, of which the first sees `LOOK_AHEAD` tokens to come (PreLookaheadLayer)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = Conv1d(SIZE, SIZE, LOOK_AHEAD + 1)
        self.conv2 = Conv1d(SIZE, SIZE, 3)

    def __call__(self, x: mx.array) -> mx.array:
        ahead = self.conv1(mx.pad(x, [(0, 0), (0, LOOK_AHEAD), (0, 0)]))
        return x + self.conv2(mx.pad(nn.leaky_relu(ahead), [(0, 0), (2, 0), (0, 0)]))


class RelativeAttention(nn.Module):
    """Self-attention whose scores depend on content and on the distance from query to key."""

    def __init__(self) -> None:
        super().__init__()
        self.linear_q = nn.Linear(SIZE, SIZE)
        self.linear_k = nn.Linear(SIZE, SIZE, bias=False)  # upstream's bias shifts all keys' scores alike
        self.linear_v = nn.Linear(SIZE, SIZE)
        self.linear_pos = nn.Linear(SIZE, SIZE, bias=False)
        self.linear_out = nn.Linear(SIZE, SIZE)
        self.pos_bias_u = mx.zeros((HEADS, SIZE // HEADS))
        self.pos_bias_v = mx.zeros((HEADS, SIZE // HEADS))

    def __call__(self, x: mx.array, positions: mx.array) -> mx.array:
        """(1, steps, 512) and the positions' encoding (1, 2 * steps - 1, 512) to (1, steps, 512)."""
        scale = (SIZE // HEADS) ** -0.5
        q, k, v, p = (
            _heads(y) for y in (self.linear_q(x), self.linear_k(x), self.linear_v(x), self.linear_pos(positions))
        )
        distance = by_distance((q + self.pos_bias_v[:, None]) @ p.swapaxes(-1, -2)) * scale
        y = attention(q + self.pos_bias_u[:, None], k, v, scale=scale, mask=distance)
        return self.linear_out(y.swapaxes(1, 2).flatten(2))


def _heads(x: mx.array) -> mx.array:
    return x.reshape(*x.shape[:2], HEADS, -1).swapaxes(1, 2)


def by_distance(scores: mx.array) -> mx.array:
    """From scores of queries and distances (1, heads, n, 2n - 1), farthest behind first, those of queries and keys.

    Row i of the result, (1, heads, n, n), starts at the row's item n - 1 - i: every row is read one item earlier than
    the one before, without a copy (espnet's `rel_shift`).
    """
    scores = mx.contiguous(scores)
    heads, n, distances = scores.shape[1:]
    return mx.as_strided(scores, (1, heads, n, n), (0, n * distances, distances - 1, 1), n - 1)


class ConformerLayer(nn.Module):
    """Relative attention and a feed-forward layer, each after a norm (ConformerEncoderLayer)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_mha = nn.LayerNorm(SIZE, eps=1e-12)
        self.self_attn = RelativeAttention()
        self.norm_ff = nn.LayerNorm(SIZE, eps=1e-12)
        self.feed_forward = FeedForward()

    def __call__(self, x: mx.array, positions: mx.array) -> mx.array:
        x = x + self.self_attn(self.norm_mha(x), positions)
        return x + self.feed_forward(self.norm_ff(x))


class FeedForward(nn.Module):
    """Two linear layers with SiLU between them (PositionwiseFeedForward)."""

    def __init__(self) -> None:
        super().__init__()
        self.w_1 = nn.Linear(SIZE, HIDDEN)
        self.w_2 = nn.Linear(HIDDEN, SIZE)

    def __call__(self, x: mx.array) -> mx.array:
        return self.w_2(silu(self.w_1(x)))


class Upsample(nn.Module):
    """Each step twice, then a causal convolution (Upsample1D)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = Conv1d(SIZE, SIZE, 2 * UPSAMPLING + 1)

    def __call__(self, x: mx.array) -> mx.array:
        return self.conv(mx.pad(mx.repeat(x, UPSAMPLING, axis=1), [(0, 0), (2 * UPSAMPLING, 0), (0, 0)]))


class UpsampleConformerEncoder(nn.Module):
    """Six layers at 25 steps a second and four at 50."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = Embedding()
        self.pre_lookahead_layer = LookAhead()
        self.encoders = [ConformerLayer() for _ in range(6)]
        self.up_layer = Upsample()
        self.up_embed = Embedding()
        self.up_encoders = [ConformerLayer() for _ in range(4)]
        self.after_norm = nn.LayerNorm(SIZE)

    def __call__(self, x: mx.array) -> mx.array:
        """Embedded tokens (1, n, 512) to frames (1, 2n, 512)."""
        x = self.pre_lookahead_layer(self.embed(x))
        positions = encode_distances(x.shape[1]).astype(x.dtype)
        for layer in self.encoders:
            x = layer(x, positions)
        x = self.up_embed(self.up_layer(x))
        positions = encode_distances(x.shape[1]).astype(x.dtype)
        for layer in self.up_encoders:
            x = layer(x, positions)
        return self.after_norm(x)


def encode_distances(n: int) -> mx.array:
    """Sines and cosines of the distances n - 1 down to 1 - n, (1, 2n - 1, 512) float32 (EspnetRelPositionalEncoding).

    In numpy and float32, as upstream does it: phases reach thousands, and their rounding is heard.
    """
    rates = np.exp(np.arange(0, SIZE, 2, dtype=np.float32) * np.float32(-math.log(10000.0) / SIZE))
    phases = np.arange(n - 1, -n, -1, dtype=np.float32)[:, None] * rates
    return mx.array(np.stack([np.sin(phases), np.cos(phases)], axis=-1).reshape(1, -1, SIZE))
