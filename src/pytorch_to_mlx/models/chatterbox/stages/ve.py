"""The voice encoder within Chatterbox, checked as the port `voice_encoder` is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.components.voice_encoder.frontend import ChatterboxFrontEnd
from pytorch_to_mlx.components.voice_encoder.model import VoiceEncoderModel
from pytorch_to_mlx.components.voice_encoder.network import VoiceEncoder
from pytorch_to_mlx.parity import FLOAT32, Bar

BARS: dict[str, Bar] = {"trim": Bar("exact"), "*": FLOAT32}
LEADING = ("lstm",)
ALIVE = {"active_units": 0.1}
CONTROL_CASE = "short"


def run(network: VoiceEncoder, inputs: Mapping[str, np.ndarray], noise: Mapping[str, np.ndarray]) -> None:
    VoiceEncoderModel(network, ChatterboxFrontEnd()).embed(Audio(inputs["wav"], int(inputs["rate"])))
