"""The 25 Hz tokenizer: sound to codes and back."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.components.qwen3_25hz.config import Tokenizer25Config
from pytorch_to_mlx.components.qwen3_25hz.dit import DiT
from pytorch_to_mlx.components.qwen3_25hz.encoder import SpeechEncoder
from pytorch_to_mlx.components.qwen3_25hz.vocoder import Vocoder


class SpeechDecoder(nn.Module):
    """Codes to sound under upstream's names."""

    def __init__(self, config: Tokenizer25Config) -> None:
        super().__init__()
        self.samples_per_code = config.samples_per_code
        self.dit = DiT(config.dit)
        self.bigvgan = Vocoder(config.vocoder)

    def __call__(self, codes: mx.array, xvector: mx.array, ref_mel: mx.array, noise: mx.array) -> mx.array:
        """The sound of codes in a voice.

        Args:
            codes: (1, codes) int32.
            xvector: the voice, (1, xvector).
            ref_mel: of its recording, (1, frames, mels).
            noise: N(0, 1), (1, codes * repeats, mels).

        Returns:
            (1, samples) float32 within 1, no more than `samples_per_code` for each code.
        """
        wav = self.bigvgan.in_pieces(self.dit(codes, xvector, ref_mel, noise))
        return wav[:, : codes.shape[1] * self.samples_per_code]


class Tokenizer25(nn.Module):
    """Both networks under upstream's names."""

    def __init__(self, config: Tokenizer25Config) -> None:
        super().__init__()
        self.config = config
        self.encoder = SpeechEncoder(config.encoder)
        self.decoder = SpeechDecoder(config)
