"""The codecs of Qwen3-TTS: what the port declares."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.components.qwen3_codec import Codec, CodecConfig, weights
from pytorch_to_mlx.components.qwen3_codec.config import PUBLISHED, from_json
from pytorch_to_mlx.components.qwen3_codec.model import Qwen3CodecModel
from pytorch_to_mlx.components.qwen3_codec.stage import CODES, DECODE, ENCODE, SOUND
from pytorch_to_mlx.parity import FLOAT32
from pytorch_to_mlx.port import Part, Port, Reference, Settings, Stage, Variant
from pytorch_to_mlx.quantization import Choice, QuantizationPolicy

CONFIG, FRONT_END = "config.json", "preprocessor_config.json"
FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")


def _model(network: Codec, config: CodecConfig, folder: Path) -> Qwen3CodecModel:
    return Qwen3CodecModel(network)


def _is_12hz(contents: Mapping[str, Any]) -> bool:
    return contents[CONFIG]["model_type"] == "qwen3_tts_tokenizer_12hz"


def _config(contents: Mapping[str, Any]) -> CodecConfig:
    return from_json(contents[CONFIG], contents[FRONT_END])


def _run(model: Qwen3CodecModel, inputs: Mapping[str, np.ndarray], noise: Mapping[str, np.ndarray]) -> None:
    """A recording there and back."""
    model.decode(model.tokenize(Audio(inputs["wav"], int(inputs["rate"]))))


VARIANTS = (
    Variant(
        "12hz",
        "12.5 frames a second of 16 codes",
        "Apache-2.0",
        PUBLISHED,
        (Part(FILES, {"decoder.decoder.6.conv.bias": (1,)}, weights(PUBLISHED)),),
        "Qwen/Qwen3-TTS-Tokenizer-12Hz",
        settings=Settings((CONFIG, FRONT_END), _is_12hz, _config),
    ),
)

PORT = Port(
    name="qwen3_tts_tokenizer",
    summary="speech codec of Qwen3-TTS",
    task="speech codec",
    variants={variant.name: variant for variant in VARIANTS},
    config_type=CodecConfig,
    build=Codec,
    model=_model,
    quantization=QuantizationPolicy(
        never=(
            Choice(
                r"encoder\..*", "a code near the border of two would change, and each error is part of the next one"
            ),
            Choice(r"decoder\..*", "most of it is convolutions, and every error is heard"),
        ),
    ),
    reference=Reference(
        script="qwen3_tts_tokenizer.py",
        upstream="qwen-tts 0.1.1",
        stages={
            "": Stage(
                run=_run,
                bars={"float32": {"codes": CODES, "wav": SOUND, "*": FLOAT32}},
                control_case="",
            ),
            "encode": ENCODE,
            "decode": DECODE,
        },
    ),
)
