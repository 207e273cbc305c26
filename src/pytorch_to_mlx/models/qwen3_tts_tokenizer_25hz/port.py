"""The 25 Hz tokenizer of Qwen3-TTS: what the port declares."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.components.qwen3_25hz import WEIGHTS, Tokenizer25, Tokenizer25Config
from pytorch_to_mlx.components.qwen3_25hz.config import DEFAULTS, from_json
from pytorch_to_mlx.components.qwen3_25hz.model import Qwen3Tokenizer25Model
from pytorch_to_mlx.components.qwen3_25hz.stage import CODES, SOUND, STAGES
from pytorch_to_mlx.noise import ReplayedNoise
from pytorch_to_mlx.parity import FLOAT32
from pytorch_to_mlx.port import Part, Port, Reference, Settings, Stage, Variant
from pytorch_to_mlx.quantization import Choice, QuantizationPolicy

CONFIG, FRONT_END = "config.json", "preprocessor_config.json"
FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
SIGNATURE = {"encoder.tokenizer.audio_quantizer.rvqs.0.inited": (1, 1)}


def _model(network: Tokenizer25, config: Tokenizer25Config, folder: Path) -> Qwen3Tokenizer25Model:
    return Qwen3Tokenizer25Model(network)


def _is_25hz(contents: Mapping[str, Any]) -> bool:
    return contents[CONFIG]["model_type"] == "qwen3_tts_tokenizer_25hz"


def _config(contents: Mapping[str, Any]) -> Tokenizer25Config:
    return from_json(contents[CONFIG], contents[FRONT_END])


def _run(model: Qwen3Tokenizer25Model, inputs: Mapping[str, np.ndarray], noise: Mapping[str, np.ndarray]) -> None:
    """A recording there and back."""
    audio = Audio(inputs["wav"], int(inputs["rate"]))
    codes = model.tokenize(audio)
    model.decode(codes, model.prepare_voice(audio, inputs["xvector"]), noise=ReplayedNoise(noise))


VARIANTS = (
    Variant(
        "25hz",
        "25 codes a second, of one codebook",
        "Apache-2.0",
        DEFAULTS,
        (Part(FILES, SIGNATURE, WEIGHTS),),
        notice="Decoding needs a vector of CAM++ for the voice, whose campplus.onnx is not converted.",
        settings=Settings((CONFIG, FRONT_END), _is_25hz, _config),
    ),
)

PORT = Port(
    name="qwen3_tts_tokenizer_25hz",
    summary="25 Hz speech tokenizer of Qwen3-TTS",
    task="speech tokenizer",
    variants={variant.name: variant for variant in VARIANTS},
    config_type=Tokenizer25Config,
    build=Tokenizer25,
    model=_model,
    quantization=QuantizationPolicy(
        never=(
            Choice(r"encoder\..*", "a code near the border of two would change"),
            Choice(r"decoder\..*", "each step of the flow adds its error to the last one's, and it is heard"),
        ),
    ),
    reference=Reference(
        script="qwen3_tts_tokenizer_25hz.py",
        upstream="qwen-tts 0.1.1",
        reduced=True,
        stages={
            "": Stage(
                run=_run,
                bars={"float32": {"codes": CODES, "wav": SOUND, "*": FLOAT32}},
                control_case="",
            ),
            **STAGES,
        },
    ),
)
