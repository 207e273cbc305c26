"""Speech tokens to mel spectrograms: chatterbox/models/s3gen/flow.py (CausalMaskedDiffWithXvec)."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from pytorch_to_mlx.components.flow.conformer import LOOK_AHEAD, SIZE, UPSAMPLING, UpsampleConformerEncoder
from pytorch_to_mlx.components.flow.estimator import MELS
from pytorch_to_mlx.components.flow.matching import FlowMatching
from pytorch_to_mlx.errors import UsageError
from pytorch_to_mlx.parity import tap

VOCABULARY = 6561
EMBEDDING = 192


@dataclass(frozen=True)
class FlowConfig:
    """What distinguishes the two sets of published weights; every other size is the same.

    Attributes:
        meanflow: the estimator knows mean velocities (Turbo): two steps, no guidance.
    """

    meanflow: bool = False


class Flow(nn.Module):
    """Token encoder and flow matching, given a prompt and its speaker."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.input_embedding = nn.Embedding(VOCABULARY, SIZE)
        self.spk_embed_affine_layer = nn.Linear(EMBEDDING, MELS)
        self.encoder = UpsampleConformerEncoder()
        self.encoder_proj = nn.Linear(SIZE, MELS)
        self.decoder = FlowMatching(config.meanflow)

    def encode(self, tokens: mx.array) -> mx.array:
        """Speech tokens (1, n) int32, of a prompt and what follows it, to frames (1, 2n, 80).

        Raises:
            UsageError: there are none, or some are not below 6561.
        """
        if tokens.ndim != 2 or tokens.shape[0] != 1 or tokens.shape[1] == 0:
            raise UsageError(f"speech tokens have the shape (1, n), n at least 1, not {tokens.shape}")
        ids = np.array(tokens)
        if ids.min() < 0 or ids.max() >= VOCABULARY:
            raise UsageError(f"speech tokens lie below {VOCABULARY}; leave out special ones")
        return self.encoder_proj(self.encoder(self.input_embedding(tokens)))

    def speaker(self, embedding: mx.array) -> mx.array:
        """A speaker embedding (1, 192) of any length to (1, 80)."""
        length = mx.maximum(mx.linalg.norm(embedding, axis=-1, keepdims=True), 1e-12)
        return self.spk_embed_affine_layer((embedding / length).astype(self.spk_embed_affine_layer.weight.dtype))

    def __call__(
        self,
        tokens: mx.array,
        prompt_tokens: mx.array,
        prompt_mel: mx.array,
        embedding: mx.array,
        z: mx.array,
        *,
        steps: int | None = None,
        finalize: bool = True,
    ) -> mx.array:
        """The mel spectrogram of speech tokens, in the voice of a prompt.

        Args:
            tokens: what to say, (1, n) int32, 25 a second.
            prompt_tokens: what the prompt says, (1, p) int32.
            prompt_mel: its mel spectrogram (1, m, 80); m is 2p, or as near to it as the prompt's length lets it.
            embedding: its speaker (1, 192).
            z: N(0, 1), (1, 2 * (p + n), 80), or 6 frames less if not `finalize`.
            steps: of the solver: 10, or 2 for meanflow, if None.
            finalize: these are the last tokens. Otherwise the frames of the last 3, which the encoder only looks ahead
                to, are left out.

        Returns:
            (1, 2 * (p + n) - m, 80) float32, or 6 frames less: log magnitudes, 50 frames a second.

        Raises:
            UsageError: a shape or a token that does not fit.
        """
        mu = self.encode(mx.concatenate([prompt_tokens, tokens], axis=1))
        if not finalize:
            mu = mu[:, : -LOOK_AHEAD * UPSAMPLING]
        frames, heard = mu.shape[1], prompt_mel.shape[1]
        if heard > frames:
            raise UsageError(f"a prompt of {heard} mel frames needs more than {frames // UPSAMPLING} tokens in all")
        if z.shape != mu.shape:
            raise UsageError(f"the noise has the shape {z.shape}, these tokens need {mu.shape}")
        prompt = mx.pad(prompt_mel, [(0, 0), (0, frames - heard), (0, 0)])
        mel = self.decoder(z, mu, self.speaker(embedding), prompt, self.decoder.times(steps))
        return tap("mel", mel[:, heard:])
