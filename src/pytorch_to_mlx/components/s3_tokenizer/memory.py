"""The attention of s3tokenizer/model_v2.py: rotary positions, and a memory (FSMN)."""

from __future__ import annotations

from functools import lru_cache

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.components.whisper.encoder import POSITIONS, Attention, masked
from pytorch_to_mlx.layers.convolution import Conv1d

MEMORY = 31  # tokens that an FSMN block sees, centred
ROPE_THETA = 10000.0


class MemoryAttention(Attention):
    """Attention with rotary positions, plus a depthwise convolution of the values (FSMN, arXiv:2006.01713)."""

    def __init__(self, state: int, heads: int) -> None:
        super().__init__(state, heads)
        self.fsmn_block = Conv1d(state, state, MEMORY, padding=MEMORY // 2, groups=state, bias=False)

    def __call__(self, x: mx.array, mask: mx.array | None) -> mx.array:
        q, k = rotated(self._split(self.query(x))), rotated(self._split(self.key(x)))
        v = self.value(x)
        return self._attended(q, k, self._split(v), mask) + self._memory(v, mask)

    def _memory(self, v: mx.array, mask: mx.array | None) -> mx.array:
        v = masked(v, mask)
        return masked(self.fsmn_block(v) + v, mask)


def rotated(x: mx.array) -> mx.array:
    """Rotary positions: (batch, tokens, heads, size), its halves turned by an angle for each position."""
    cos, sin = (table[: x.shape[1], None].astype(x.dtype) for table in _rotations(x.shape[-1] // 2))
    left, right = mx.split(x, 2, axis=-1)
    return mx.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)


@lru_cache
def _rotations(half: int) -> tuple[mx.array, mx.array]:
    """Cosines and sines of every position's angles, (positions, half).

    The angles are float32 products, as upstream's: at position 700 their rounding is worth 3e-5.
    """
    frequencies = np.float32(1) / (ROPE_THETA ** (np.arange(half) / half)).astype(np.float32)
    angles = np.outer(np.arange(POSITIONS, dtype=np.float32), frequencies)
    return mx.array(np.cos(angles)), mx.array(np.sin(angles))
