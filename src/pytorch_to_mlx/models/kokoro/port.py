"""Kokoro: what the port declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pytorch_to_mlx.models.kokoro import voices
from pytorch_to_mlx.models.kokoro.config import KokoroConfig, from_json
from pytorch_to_mlx.models.kokoro.model import KokoroModel
from pytorch_to_mlx.models.kokoro.network import Kokoro
from pytorch_to_mlx.models.kokoro.phonemes import front_end
from pytorch_to_mlx.models.kokoro.stages import STAGES
from pytorch_to_mlx.models.kokoro.weights import weights
from pytorch_to_mlx.port import Asset, Part, Port, Reference, Settings, Variant
from pytorch_to_mlx.quantization import Choice, QuantizationPolicy

SETTINGS = ("config.json",)


def _is_kokoro(contents: Mapping[str, Any]) -> bool:
    told = contents["config.json"]
    return {"istftnet", "plbert", "vocab"} <= told.keys()


def _part(file: str, within: str) -> Part:
    """Of a checkpoint whose state dicts' names begin so."""
    return Part((file,), {f"bert_encoder.{within}bias": (512,)}, weights(within))


def _variant(name: str, summary: str, file: str, repository: str, chinese: Literal["1.0", "1.1"]) -> Variant:
    def config(contents: Mapping[str, Any]) -> KokoroConfig:
        return from_json(contents["config.json"], chinese)

    published = _part(file, "module.")
    return Variant(
        name,
        summary,
        "Apache-2.0",
        KokoroConfig(chinese=chinese),
        (Part(published.files, published.signature, published.weights, instead=(_part(file, ""),)),),
        repository,
        (Asset(voices.FILE, (), patterns=(voices.PATTERN,), make=voices.packed),),
        settings=Settings(SETTINGS, _is_kokoro, config),
    )


VARIANTS = (
    _variant("v1.0", "54 voices, 9 languages", "kokoro-v1_0.pth", "hexgrad/Kokoro-82M", "1.0"),
    _variant("v1.1-zh", "Chinese and English", "kokoro-v1_1-zh.pth", "hexgrad/Kokoro-82M-v1.1-zh", "1.1"),
)

PORT = Port(
    name="kokoro",
    summary="Kokoro speech synthesis",
    task="text to speech",
    variants={variant.name: variant for variant in VARIANTS},
    config_type=KokoroConfig,
    build=Kokoro,
    model=KokoroModel,
    quantization=QuantizationPolicy(
        quantize=(Choice(r"bert\.encoder\..*", "most of the text's weights"),),
        never=(Choice(r"(?!bert\.encoder\.).*", "small, and heard at once"),),
    ),
    front_end=front_end,
    reference=Reference(script="kokoro_tts.py", upstream="kokoro 0.9.4", stages=STAGES),
)
