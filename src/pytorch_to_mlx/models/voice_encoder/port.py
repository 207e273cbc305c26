"""The speaker encoder of Resemblyzer and Chatterbox: what the port declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.components.voice_encoder.frontend import ChatterboxFrontEnd, ResemblyzerFrontEnd
from pytorch_to_mlx.components.voice_encoder.model import VoiceEncoderModel
from pytorch_to_mlx.components.voice_encoder.network import VoiceEncoder
from pytorch_to_mlx.components.voice_encoder.weights import CHATTERBOX, RESEMBLYZER
from pytorch_to_mlx.parity import Bar, tap
from pytorch_to_mlx.port import Part, Port, Reference, Stage, Variant
from pytorch_to_mlx.quantization import Choice, QuantizationPolicy


@dataclass(frozen=True)
class VoiceEncoderConfig:
    """The network has one size; recordings are prepared as one of the two upstreams does it."""

    front_end: Literal["resemblyzer", "chatterbox"]


def _build(config: VoiceEncoderConfig) -> VoiceEncoder:
    return VoiceEncoder()


def _model(network: VoiceEncoder, config: VoiceEncoderConfig, folder: Path) -> VoiceEncoderModel:
    front_end = ResemblyzerFrontEnd() if config.front_end == "resemblyzer" else ChatterboxFrontEnd()
    return VoiceEncoderModel(network, front_end)


def _run(model: VoiceEncoderModel, inputs: Mapping[str, np.ndarray], noise: Mapping[str, np.ndarray]) -> None:
    model.embed(Audio(inputs["wav"], int(inputs["rate"])))


def _together(model: VoiceEncoderModel, inputs: Sequence[Mapping[str, np.ndarray]]) -> None:
    recordings = [Audio(each["wav"], int(each["rate"])) for each in inputs]
    embeds = [model.embed(audio) for audio in recordings]
    tap("speaker", model.embed_speaker(recordings))
    tap("similarity", np.array([[model.similarity(a, b) for b in embeds] for a in embeds]))


STAGE = Stage(
    run=_run,
    together=_together,
    bars={
        "float32": {"vad*": Bar("exact"), "trim": Bar("exact"), "*": Bar("relative", 1e-5)},
        "float16": {"*embed*": Bar("relative", 0.02)},
        "bfloat16": {"*embed*": Bar("relative", 0.1)},
    },
    names={"linear": "proj"},
    leading=("lstm",),
    alive={"kept": 0.2, "active_units": 0.1, "nearest_distance": 0.05},
)

PORT = Port(
    name="voice_encoder",
    summary="LSTM speaker encoder of Resemblyzer and Chatterbox",
    task="speaker encoder",
    variants={
        "resemblyzer": Variant(
            "resemblyzer",
            "trained weights of the resemblyzer package",
            "Apache-2.0",
            VoiceEncoderConfig("resemblyzer"),
            (
                Part(
                    files=("pretrained.pt",),
                    signature={
                        "model_state.lstm.weight_ih_l2": (1024, 256),
                        "model_state.linear.weight": (256, 256),
                    },
                    weights=RESEMBLYZER,
                ),
            ),
        ),
        "chatterbox": Variant(
            "chatterbox",
            "the voice encoder inside Chatterbox",
            "MIT",
            VoiceEncoderConfig("chatterbox"),
            (
                Part(
                    files=("ve.safetensors",),
                    signature={"lstm.weight_ih_l2": (1024, 256), "proj.weight": (256, 256)},
                    weights=CHATTERBOX,
                ),
            ),
            base_model="ResembleAI/chatterbox",
        ),
    },
    config_type=VoiceEncoderConfig,
    build=_build,
    model=_model,
    quantization=QuantizationPolicy(
        never=(Choice("proj", "1.4 M parameters in all, and every bit of a speaker's direction counts"),),
    ),
    reference=Reference(
        script="voice_encoder.py",
        upstream="Resemblyzer 0.1.4, chatterbox-tts 0.1.7",
        stages={"": STAGE},
    ),
)
