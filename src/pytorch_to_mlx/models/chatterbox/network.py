"""Chatterbox's networks under one roof, with the prefixes that its model folder has."""

from __future__ import annotations

import mlx.nn as nn

from pytorch_to_mlx.components.campplus import CAMPPlus
from pytorch_to_mlx.components.flow import Flow, FlowConfig
from pytorch_to_mlx.components.hift import HiFT
from pytorch_to_mlx.components.perth import Perth
from pytorch_to_mlx.components.s3_tokenizer import S3TokenizerV2
from pytorch_to_mlx.components.voice_encoder.network import VoiceEncoder
from pytorch_to_mlx.models.chatterbox.config import ChatterboxConfig
from pytorch_to_mlx.models.chatterbox.t3.network import T3


class S3Gen(nn.Module):
    """Speech tokens to a waveform (chatterbox/models/s3gen/s3gen.py): speaker encoder, flow and vocoder."""

    def __init__(self, meanflow: bool) -> None:
        super().__init__()
        self.speaker_encoder = CAMPPlus()
        self.flow = Flow(FlowConfig(meanflow=meanflow))
        self.mel2wav = HiFT()


class Chatterbox(nn.Module):
    """Everything that has weights; how they work together is `model.ChatterboxModel`."""

    def __init__(self, config: ChatterboxConfig) -> None:
        super().__init__()
        self.ve = VoiceEncoder()
        self.t3 = T3(config.t3)
        self.s3gen = S3Gen(config.meanflow)
        self.s3_tokenizer = S3TokenizerV2()
        self.perth = Perth()
