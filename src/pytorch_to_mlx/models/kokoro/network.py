"""Kokoro (kokoro/model.py): phonemes to durations, pitch and loudness, and those to sound."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from pytorch_to_mlx.layers.linear import Linear
from pytorch_to_mlx.models.kokoro.albert import Albert
from pytorch_to_mlx.models.kokoro.config import STYLE, KokoroConfig
from pytorch_to_mlx.models.kokoro.decoder import Decoder
from pytorch_to_mlx.models.kokoro.prosody import ProsodyPredictor, TextEncoder
from pytorch_to_mlx.parity import tap


@dataclass(frozen=True)
class Frames:
    """A text as the decoder takes it.

    Attributes:
        durations: frames (1/40 s) of each phoneme, (tokens,).
        asr: the phonemes, (1, frames, hidden_dim).
        pitch, loudness: (1, 2 frames) float32, pitch in Hz.
    """

    durations: np.ndarray
    asr: mx.array
    pitch: mx.array
    loudness: mx.array


class Kokoro(nn.Module):
    """All networks under upstream's names."""

    def __init__(self, config: KokoroConfig) -> None:
        super().__init__()
        self.config = config
        self.bert = Albert(config.plbert, config.n_token)
        self.bert_encoder = Linear(config.plbert.hidden_size, config.hidden_dim)
        self.predictor = ProsodyPredictor(config)
        self.text_encoder = TextEncoder(config)
        self.decoder = Decoder(config.istftnet)

    def frames(self, tokens: mx.array, style: mx.array, speed: float = 1.0) -> Frames:
        """What is said, how long, how high and how loud.

        Args:
            tokens: phonemes, with 0 at both ends, (1, tokens).
            style: of a voice, (1, 256): the second half is of the prosody.
            speed: 1 is the model's own.
        """
        prosody = style[:, STYLE:].astype(self.bert_encoder.weight.dtype)
        encoded = self.predictor.text_encoder(self.bert_encoder(self.bert(tokens)), prosody)
        lasting = self.predictor.durations(encoded)[0] / speed
        durations = tap("durations", np.array(mx.maximum(mx.round(lasting), 1).astype(mx.int32)))
        stretched = mx.array(np.repeat(np.arange(len(durations)), durations))
        pitch, loudness = self.predictor.curves(encoded[:, stretched], prosody)
        asr = tap("asr", self.text_encoder(tokens)[:, stretched])
        return Frames(durations, asr, tap("f0", pitch), tap("n", loudness))

    def sound(self, frames: Frames, style: mx.array, noise: mx.array) -> mx.array:
        """Samples (1, 2 frames * samples) float32; `noise` is N(0, 1), as the source takes it."""
        source = self.decoder.generator.m_source
        harmonics = source.harmonics(source(frames.pitch, noise))
        timbre = style[:, :STYLE].astype(frames.asr.dtype)
        return self.decoder(frames.asr, frames.pitch, frames.loudness, timbre, harmonics)
