"""Whisper's encoder (arXiv:2212.04356, whisper/model.py), of which speech tokenizers have variations.

Two convolutions that thin frames out, then pre-norm transformer blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.layers.attention import attention
from pytorch_to_mlx.layers.convolution import Conv1d
from pytorch_to_mlx.layers.elementwise import gelu

POSITIONS = 1500


class Attention(nn.Module):
    """Multi-head attention over all tokens that `mask` leaves; only the key has no bias."""

    def __init__(self, state: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(state, state)
        self.key = nn.Linear(state, state, bias=False)
        self.value = nn.Linear(state, state)
        self.out = nn.Linear(state, state)

    def __call__(self, x: mx.array, mask: mx.array | None) -> mx.array:
        """(batch, tokens, state) with the tokens to use, (batch, tokens) or all, to the same shape."""
        q, k, v = self._split(self.query(x)), self._split(self.key(x)), self._split(self.value(x))
        return self._attended(q, k, v, mask)

    def _attended(self, q: mx.array, k: mx.array, v: mx.array, mask: mx.array | None) -> mx.array:
        keys = None if mask is None else mask[:, None, None, :]
        heads = [each.swapaxes(1, 2) for each in (q, k, v)]
        mixed = attention(*heads, scale=q.shape[-1] ** -0.5, mask=keys)
        return self.out(mixed.swapaxes(1, 2).flatten(2))

    def _split(self, x: mx.array) -> mx.array:
        """(batch, tokens, state) to (batch, tokens, heads, size)."""
        return x.reshape(*x.shape[:2], self.heads, -1)


class Block(nn.Module):
    """Attention, then two linear layers, each after a layer norm and added to its input."""

    def __init__(self, attn: Attention, state: int) -> None:
        super().__init__()
        self.attn = attn
        self.attn_ln = nn.LayerNorm(state)
        self.mlp = MLP(state)
        self.mlp_ln = nn.LayerNorm(state)

    def __call__(self, x: mx.array, mask: mx.array | None) -> mx.array:
        """(batch, tokens, state) to the same shape."""
        x = x + self.attn(self.attn_ln(x), mask)
        return x + self.mlp(self.mlp_ln(x))


class MLP(nn.Module):
    """Two linear layers around an exact GELU."""

    def __init__(self, state: int) -> None:
        super().__init__()
        self.layers = [nn.Linear(state, 4 * state), nn.Linear(4 * state, state)]

    def __call__(self, x: mx.array) -> mx.array:
        """(..., state) to the same shape."""
        first, second = self.layers
        return second(gelu(first(x)))


class Encoder(nn.Module):
    """Log-mel frames to hidden states, one for each token.

    Args:
        mels, state, heads, layers: sizes.
        stride: of the first convolution; the second's is 2.
        positions: of the table that is added; 0 for blocks that tell positions themselves.
        attention: of each block.
    """

    def __init__(
        self,
        mels: int,
        state: int,
        heads: int,
        layers: int,
        stride: int = 1,
        *,
        positions: int = POSITIONS,
        attention: type[Attention] = Attention,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = Conv1d(mels, state, 3, stride=stride, padding=1)
        self.conv2 = Conv1d(state, state, 3, stride=2, padding=1)
        if positions:
            self.positional_embedding = mx.zeros((positions, state))
        self.blocks = [Block(attention(state, heads), state) for _ in range(layers)]

    def length(self, frames: int) -> int:
        """How many tokens a number of frames becomes."""
        return (self._halfway(frames) + 1) // 2

    def _halfway(self, frames: int) -> int:
        return (frames - 1) // self.stride + 1

    def __call__(self, mel: mx.array, frames: Sequence[int]) -> mx.array:
        """Hidden states of a padded batch, the same as each recording's alone.

        Args:
            mel: (batch, longest, mels), zero beyond each recording's frames.
            frames: of each recording.

        Returns:
            (batch, tokens, state); what lies beyond a recording's `length` means nothing.
        """
        x = mel.astype(self.conv1.weight.dtype)
        x = gelu(self.conv1(masked(x, within(frames, x.shape[1]))))
        x = gelu(self.conv2(masked(x, within([self._halfway(n) for n in frames], x.shape[1]))))
        mask = within([self.length(n) for n in frames], x.shape[1])
        if "positional_embedding" in self:
            x = x + self.positional_embedding[: x.shape[1]]
        for block in self.blocks:
            x = block(x, mask)
        return x


def within(lengths: Sequence[int], longest: int) -> mx.array | None:
    """True where an item lies within its recording, (batch, longest); None where all do."""
    if all(length == longest for length in lengths):
        return None
    return mx.arange(longest)[None, :] < mx.array(list(lengths))[:, None]


def masked(x: mx.array, mask: mx.array | None) -> mx.array:
    """(batch, n, channels) with zeros where `mask` (batch, n) is false."""
    return x if mask is None else x * mask[..., None].astype(x.dtype)
