"""Learned positions (chatterbox/models/t3/modules/learned_pos_emb.py)."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn


class LearnedPositionEmbeddings(nn.Module):
    """One vector for each position."""

    def __init__(self, positions: int, size: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(positions, size)

    def __call__(self, start: int, count: int) -> mx.array:
        """The vectors of positions `start` to `start + count`, (count, size)."""
        return self.emb(mx.arange(start, start + count))
