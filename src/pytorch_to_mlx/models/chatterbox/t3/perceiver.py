"""The prompt in 32 vectors: a perceiver resampler (Jaegle et al. 2021, arXiv:2103.03206;
chatterbox/models/t3/modules/perceiver.py).
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.layers.attention import attention

QUERIES = 32
HEADS = 4


class Perceiver(nn.Module):
    """Learned queries look at a sequence, then at one another, both through the same attention block."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.pre_attention_query = mx.zeros((1, QUERIES, size))
        self.attn = PerceiverAttention(size)

    def __call__(self, sequence: mx.array) -> mx.array:
        """(B, T, size) to (B, 32, size)."""
        queries = mx.broadcast_to(self.pre_attention_query, (sequence.shape[0], *self.pre_attention_query.shape[1:]))
        seen = self.attn(queries, sequence)
        return self.attn(seen, seen)


class PerceiverAttention(nn.Module):
    """Attention with one norm for queries and keys, and a residual connection (`AttentionBlock2`)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.to_q = nn.Linear(size, size)
        self.to_k = nn.Linear(size, size)
        self.to_v = nn.Linear(size, size)
        self.proj_out = nn.Linear(size, size)

    def __call__(self, queries: mx.array, sequence: mx.array) -> mx.array:
        """(B, N, size) looking at (B, T, size) to (B, N, size)."""
        width = queries.shape[-1] // HEADS
        normed_queries, normed = self.norm(queries), self.norm(sequence)

        def heads(x: mx.array) -> mx.array:
            return x.reshape(*x.shape[:2], HEADS, width).swapaxes(1, 2)

        q, k, v = heads(self.to_q(normed_queries)), heads(self.to_k(normed)), heads(self.to_v(normed))
        looked = attention(q, k, v, scale=width**-0.5).swapaxes(1, 2).reshape(queries.shape)
        return queries + self.proj_out(looked)
