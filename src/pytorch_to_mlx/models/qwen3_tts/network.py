"""Qwen3-TTS's networks under one roof, with the prefixes that its model folder has."""

from __future__ import annotations

import mlx.nn as nn

from pytorch_to_mlx.components.ecapa import SpeakerEncoder
from pytorch_to_mlx.components.qwen3_codec import Codec
from pytorch_to_mlx.models.qwen3_tts.config import Qwen3TTSConfig
from pytorch_to_mlx.models.qwen3_tts.talker import Talker


class Qwen3TTS(nn.Module):
    """Everything that has weights; how they work together is `model.Qwen3TTSModel`."""

    def __init__(self, config: Qwen3TTSConfig) -> None:
        super().__init__()
        self.talker = Talker(config.talker)
        if config.speaker_encoder is not None:
            self.speaker_encoder = SpeakerEncoder(config.speaker_encoder)
        self.codec = Codec(config.codec)
