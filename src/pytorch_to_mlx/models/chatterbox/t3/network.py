"""T3, text tokens to speech tokens (chatterbox/models/t3/t3.py): one network with a Llama or a GPT-2 inside."""

from __future__ import annotations

from collections.abc import Iterable

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.components.decoder import Decoder
from pytorch_to_mlx.errors import UsageError
from pytorch_to_mlx.layers.linear import Linear
from pytorch_to_mlx.models.chatterbox.t3.conditioning import T3CondEnc
from pytorch_to_mlx.models.chatterbox.t3.config import (
    MAX_SPEECH_TOKENS,
    MAX_TEXT_TOKENS,
    START_SPEECH,
    START_TEXT,
    STOP_TEXT,
    T3Config,
)
from pytorch_to_mlx.models.chatterbox.t3.positions import LearnedPositionEmbeddings
from pytorch_to_mlx.parity import tap


class T3(nn.Module):
    """Conditioning, text and speech tokens as one sequence of embeddings, a causal transformer, and two heads."""

    def __init__(self, config: T3Config) -> None:
        super().__init__()
        self.config = config
        size = config.backbone.hidden_size
        self.cond_enc = T3CondEnc(size, perceiver=config.perceiver, emotion=config.emotion)
        self.text_emb = nn.Embedding(config.text_vocabulary, size)
        self.speech_emb = nn.Embedding(config.speech_vocabulary, size)
        if config.learned_positions:
            self.text_pos_emb = LearnedPositionEmbeddings(MAX_TEXT_TOKENS + 2, size)
            self.speech_pos_emb = LearnedPositionEmbeddings(MAX_SPEECH_TOKENS + 4, size)
        self.tfmr = Decoder(config.backbone)
        self.text_head = Linear(size, config.text_vocabulary, bias=False)
        self.speech_head = Linear(size, config.speech_vocabulary, bias=config.turbo)

    def __call__(self, condition: mx.array, text: mx.array, speech: mx.array) -> tuple[mx.array, mx.array]:
        """Logits of every next token, all tokens given (upstream's `forward`, for training and measurement).

        Args:
            condition: from `condition`, (1, L, size).
            text: tokens (1, N), start and stop tokens included.
            speech: tokens (1, S), the start token included.

        Returns:
            of text (1, N, text_vocabulary) and of speech (1, S, speech_vocabulary).
        """
        embeddings = mx.concatenate([condition, self.embed_text(text), self.embed_speech(speech)], axis=1)
        hidden = self.tfmr(tap("embeds", embeddings))
        start = condition.shape[1] + text.shape[1]
        return self.text_head(hidden[:, condition.shape[1] : start]), self.speech_head(hidden[:, start:])

    def condition(self, speaker: mx.array, prompt: mx.array, emotion: float | None = None) -> mx.array:
        """What is said before the text.

        Args:
            speaker: embedding of the voice encoder, (1, 256).
            prompt: speech tokens of the reference recording, (1, P).
            emotion: how expressive, 0.5 for neutral; None for models without emotion.

        Returns:
            (1, L, size).

        Raises:
            UsageError: the model has no emotion and is given one, or the other way round.
        """
        if self.config.emotion != (emotion is not None):
            raise UsageError(f"exaggeration {'is needed by' if self.config.emotion else 'is not known to'} this model")
        dtype = self.cond_enc.spkr_enc.bias.dtype
        return self.cond_enc(
            speaker.astype(dtype), self.embed_speech(prompt), mx.full((1, 1, 1), emotion or 0.0, dtype)
        )

    def embed_text(self, tokens: mx.array) -> mx.array:
        """(B, N) to (B, N, size), with positions where the model has them.

        Raises:
            UsageError: more tokens than positions.
        """
        embeddings = self.text_emb(tokens)
        return embeddings + self._text_positions(tokens.shape[1]) if self.config.learned_positions else embeddings

    def embed_speech(self, tokens: mx.array, start: int = 0) -> mx.array:
        """(B, S) to (B, S, size), the first at position `start` where the model has positions."""
        embeddings = self.speech_emb(tokens)
        if not self.config.learned_positions:
            return embeddings
        return embeddings + self.speech_pos_emb(start, tokens.shape[1])

    def prefix(self, condition: mx.array, text: Iterable[int], *, guided: bool) -> mx.array:
        """All that comes before the first generated token.

        Args:
            condition: (1, L, size).
            text: tokens (N,) as the tokenizer gives them.
            guided: adds a second sequence, whose text is positions only.

        Returns:
            (1 or 2, T, size).

        Raises:
            UsageError: more tokens than positions.
        """
        start = self.embed_speech(mx.array([[START_SPEECH]]))
        if self.config.turbo:
            return mx.concatenate([condition, self.embed_text(mx.array([list(text)], mx.int32)), start], axis=1)
        tokens = mx.array([[START_TEXT, *text, STOP_TEXT]], mx.int32)
        spoken = [start, start]  # both at position 0
        sequences = [mx.concatenate([condition, self.embed_text(tokens), *spoken], axis=1)]
        if guided:
            positions = self._text_positions(tokens.shape[1])[None]
            sequences.append(mx.concatenate([condition, positions, *spoken], axis=1))
        return mx.concatenate(sequences)

    def _text_positions(self, count: int) -> mx.array:
        if count > MAX_TEXT_TOKENS + 2:
            raise UsageError(f"the text has {count - 2} tokens, the model room for {MAX_TEXT_TOKENS}; split it")
        return self.text_pos_emb(0, count)
