"""From text to codes: qwen_tts/core/models/modeling_qwen3_tts.py, Qwen3TTSTalkerForConditionalGeneration.

A decoder gives the first code of each frame; a small one, from the first's hidden state, the others in turn.
"""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.components.decoder import Decoder
from pytorch_to_mlx.decoding import KVCache
from pytorch_to_mlx.layers.elementwise import silu
from pytorch_to_mlx.layers.linear import Linear
from pytorch_to_mlx.models.qwen3_tts.config import TalkerConfig

Choose = Callable[[int, mx.array], mx.array]
"""A code (B,) for a place in the frame (1 and up), from its logits (B, codebook_size)."""


class TextProjection(nn.Module):
    """Text embeddings in the width of the talker."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear_fc1 = Linear(inputs, inputs)
        self.linear_fc2 = Linear(inputs, outputs)

    def __call__(self, x: mx.array) -> mx.array:
        """(..., inputs) to (..., outputs)."""
        return self.linear_fc2(silu(self.linear_fc1(x)))


class Backbone(Decoder):
    """The talker's decoder with its two tables of embeddings."""

    def __init__(self, config: TalkerConfig) -> None:
        super().__init__(config.backbone)
        self.codec_embedding = nn.Embedding(config.vocabulary, config.backbone.hidden_size)
        self.text_embedding = nn.Embedding(config.text_vocabulary, config.text_hidden_size)


class PredictorBackbone(Decoder):
    """The code predictor's decoder with a table for each code but the first, in the talker's width."""

    def __init__(self, config: TalkerConfig) -> None:
        super().__init__(config.predictor)
        width = config.backbone.hidden_size
        self.codec_embedding = [nn.Embedding(config.codebook_size, width) for _ in range(config.codes - 1)]


class CodePredictor(nn.Module):
    """The other codes of a frame, each from those before it."""

    def __init__(self, config: TalkerConfig) -> None:
        super().__init__()
        inputs, width = config.backbone.hidden_size, config.predictor.hidden_size
        self.model = PredictorBackbone(config)
        self.lm_head = [Linear(width, config.codebook_size, bias=False) for _ in range(config.codes - 1)]
        if width != inputs:
            self.small_to_mtp_projection = Linear(inputs, width)

    def __call__(self, embeddings: mx.array, cache: KVCache | None = None) -> mx.array:
        """(B, T, the talker's width) to hidden states (B, T, own width)."""
        if "small_to_mtp_projection" in self:
            embeddings = self.small_to_mtp_projection(embeddings)
        return self.model(embeddings, cache)


class Talker(nn.Module):
    """Everything that is learned between text and codes."""

    def __init__(self, config: TalkerConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Backbone(config)
        self.text_projection = TextProjection(config.text_hidden_size, config.backbone.hidden_size)
        self.codec_head = Linear(config.backbone.hidden_size, config.vocabulary, bias=False)
        self.code_predictor = CodePredictor(config)

    def embed_text(self, tokens: mx.array) -> mx.array:
        """Text tokens (B, T) to (B, T, hidden_size)."""
        return self.text_projection(self.model.text_embedding(tokens))

    def embed_first(self, tokens: mx.array) -> mx.array:
        """First codes, special tokens among them, (B, T) to (B, T, hidden_size)."""
        return self.model.codec_embedding(tokens)

    def embed_code(self, place: int, codes: mx.array) -> mx.array:
        """Codes that stand at `place` of their frames, (B, T) to (B, T, hidden_size)."""
        return self.code_predictor.model.codec_embedding[place - 1](codes) if place else self.embed_first(codes)

    def embed_frames(self, frames: mx.array) -> mx.array:
        """Frames (B, T, codes) to the sums of their codes' embeddings, (B, T, hidden_size)."""
        embedded = self.embed_first(frames[..., 0])
        for place in range(1, self.config.codes):
            embedded = embedded + self.embed_code(place, frames[..., place])
        return embedded

    def first(self, embeddings: mx.array, cache: KVCache | None = None) -> tuple[mx.array, mx.array]:
        """Hidden states (B, T, hidden_size), and logits of the first codes that follow, (B, T, vocabulary)."""
        hidden = self.model(embeddings, cache)
        return hidden, self.codec_head(hidden)

    def others(self, hidden: mx.array, first: mx.array, cache: KVCache, choose: Choose) -> mx.array:
        """The frame that begins with the codes `first`.

        Args:
            hidden: what the first codes were chosen from, (B, 1, hidden_size).
            first: (B,).
            cache: of the code predictor; what it holds of another frame is forgotten.
            choose: each other code.

        Returns:
            (B, codes).
        """
        cache.trim(cache.offset)
        codes = [first]
        embeddings = mx.concatenate([hidden, self.embed_first(first[:, None])], axis=1)
        for place in range(1, self.config.codes):
            state = self.code_predictor(embeddings, cache)[:, -1]
            codes.append(choose(place, self.code_predictor.lm_head[place - 1](state)))
            embeddings = self.embed_code(place, codes[-1][:, None])
        return mx.stack(codes, axis=1)

    def other_logits(self, hidden: mx.array, frames: mx.array) -> mx.array:
        """Logits of every other code, all codes given (upstream's `forward_sub_talker_finetune`).

        Args:
            hidden: what the frames' first codes were chosen from, (N, hidden_size).
            frames: (N, codes).

        Returns:
            (N, codes - 1, codebook_size).
        """
        places = range(self.config.codes - 1)
        embeddings = mx.stack([hidden, *(self.embed_code(place, frames[:, place]) for place in places)], axis=1)
        states = self.code_predictor(embeddings)
        return mx.stack([self.code_predictor.lm_head[place](states[:, place + 1]) for place in places], axis=1)
