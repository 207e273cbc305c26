"""What T3 hears besides the text: speaker, prompt and emotion (chatterbox/models/t3/modules/cond_enc.py)."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.models.chatterbox.t3.perceiver import Perceiver

SPEAKER_SIZE = 256


class T3CondEnc(nn.Module):
    """Projects the speaker, resamples the prompt if there is a perceiver, projects the emotion if the model has one."""

    def __init__(self, size: int, *, perceiver: bool, emotion: bool) -> None:
        super().__init__()
        self.spkr_enc = nn.Linear(SPEAKER_SIZE, size)
        if perceiver:
            self.perceiver = Perceiver(size)
        if emotion:
            self.emotion_adv_fc = nn.Linear(1, size, bias=False)

    def __call__(self, speaker: mx.array, prompt: mx.array, emotion: mx.array) -> mx.array:
        """Embeddings in the order of upstream.

        Args:
            speaker: (1, 256), of the voice encoder.
            prompt: embedded speech tokens (1, P, size).
            emotion: (1, 1, 1); not looked at by models without emotion.

        Returns:
            (1, L, size), L = 1 + 32 + 1 with perceiver and emotion, else 1 + P.
        """
        parts = [self.spkr_enc(speaker)[:, None], self.perceiver(prompt) if "perceiver" in self else prompt]
        if "emotion_adv_fc" in self:
            parts.append(self.emotion_adv_fc(emotion))
        return mx.concatenate(parts, axis=1)
