"""Whisper (arXiv:2212.04356, whisper/model.py): a spectrum of 30 s to states, and those to text."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.components.decoder import Cache, Decoder, Memory
from pytorch_to_mlx.components.whisper.encoder import Encoder
from pytorch_to_mlx.layers.linear import Embedding
from pytorch_to_mlx.models.whisper.config import Heads, WhisperConfig


class AudioEncoder(Encoder):
    """The encoder of windows that are full."""

    def __init__(self, config: WhisperConfig) -> None:
        state = config.n_audio_state
        super().__init__(config.n_mels, state, config.n_audio_head, config.n_audio_layer, positions=config.n_audio_ctx)
        self.ln_post = nn.LayerNorm(state)

    def states(self, mel: mx.array) -> mx.array:
        """Windows (B, 2 n_audio_ctx, n_mels) to their states, (B, n_audio_ctx, n_audio_state)."""
        return self.ln_post(self(mel, [mel.shape[1]] * len(mel)))


class TextDecoder(Decoder):
    """The decoder between a table of tokens and the same table."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__(config.decoder)
        self.token_embedding = Embedding(config.n_vocab, config.n_text_state)

    def read(self, tokens: mx.array, cache: Cache | None, memory: Memory) -> mx.array:
        """Tokens (B, T), those that follow the ones in `cache`, to hidden states, (B, T, n_text_state)."""
        return self(self.token_embedding(tokens), cache, memory)

    def aligned(self, tokens: mx.array, memory: Memory, heads: Heads) -> tuple[mx.array, mx.array]:
        """As `read` without a past, and the scores of `heads`, (B, heads, T, n_audio_ctx)."""
        return self.attending(self.token_embedding(tokens), None, heads, memory)

    def logits(self, hidden: mx.array) -> mx.array:
        """Of what follows, (..., n_text_state) to (..., n_vocab) float32."""
        return self.token_embedding.as_linear(hidden).astype(mx.float32)


class Whisper(nn.Module):
    """Encoder and decoder."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.encoder = AudioEncoder(config)
        self.decoder = TextDecoder(config)
