"""What Chatterbox's contenders that compute in MLX share."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
from chatterbox_serving import NEVER, SPEECH_TOKENS, ChatterboxContender
from on_mlx import MlxContender


class MlxChatterbox(MlxContender, ChatterboxContender):
    """One that computes in MLX."""


class Endless(nn.Module):
    """A speech head whose special tokens are never likely."""

    def __init__(self, head: nn.Module, vocabulary: int) -> None:
        super().__init__()
        self.head = head
        self.bias = mx.where(mx.arange(vocabulary) < SPEECH_TOKENS, 0.0, NEVER)

    def __call__(self, x: mx.array) -> mx.array:
        return self.head(x) + self.bias
