"""Qwen3-TTS: what the port declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytorch_to_mlx.components import qwen3_codec
from pytorch_to_mlx.components.qwen3_codec.config import PUBLISHED as PUBLISHED_CODEC
from pytorch_to_mlx.models.qwen3_tts.config import Kind, Qwen3TTSConfig, from_json
from pytorch_to_mlx.models.qwen3_tts.model import Qwen3TTSModel
from pytorch_to_mlx.models.qwen3_tts.network import Qwen3TTS
from pytorch_to_mlx.models.qwen3_tts.reference import REFERENCE
from pytorch_to_mlx.models.qwen3_tts.weights import QUANTIZATION, WITH_VOICES, WITHOUT_VOICES
from pytorch_to_mlx.port import Asset, Part, Port, Settings, Variant
from pytorch_to_mlx.text import qwen2_tokenizer_json

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
CODEC = "speech_tokenizer/"
SETTINGS = (
    "config.json",
    "generation_config.json",
    f"{CODEC}config.json",
    f"{CODEC}preprocessor_config.json",
)
TOKENIZER = Asset(
    "tokenizer.json",
    ("vocab.json", "merges.txt", "tokenizer_config.json"),
    helpful=("added_tokens.json", "special_tokens_map.json"),
    make=qwen2_tokenizer_json,
)


EXAMPLES: dict[Kind, str] = {
    "base": "--ref-audio anna.wav",
    "custom_voice": "--speaker ryan",
    "voice_design": '--instruct "An old man, calm and slow"',
}


def _published(kind: Kind, size: str) -> Qwen3TTSConfig:
    """The published sizes."""
    width, inner = {"0b6": (1024, 3072), "1b7": (2048, 6144)}[size]
    decoder = {"num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "rope_theta": 1000000}
    talker = {
        **decoder,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": 28,
        "text_vocab_size": 151936,
        "num_code_groups": 16,
        "rope_scaling": {"mrope_section": [24, 20, 20]},
        "code_predictor_config": {**decoder, "num_code_groups": 16},
        **{f"codec_{name}_id": 2148 + place for place, name in enumerate(("pad", "bos", "eos_token"))},
        **{
            f"codec_{name}_id": 2154 + place
            for place, name in enumerate(("think", "nothink", "think_bos", "think_eos"))
        },
    }
    told = {"tts_model_type": kind, "tts_model_size": size, "talker_config": talker}
    encoder = {"enc_dim": width}
    made = from_json(told | {"speaker_encoder_config": encoder}, {}, {}, {})
    return Qwen3TTSConfig(kind, size, made.talker, PUBLISHED_CODEC, made.speaker_encoder)


def _variant(name: str, kind: Kind, size: str, summary: str, repository: str) -> Variant:
    def fits(contents: Mapping[str, Any]) -> bool:
        told = contents["config.json"]
        found = (told["model_type"], told["tokenizer_type"], told["tts_model_type"], told["tts_model_size"])
        return found == ("qwen3_tts", "qwen3_tts_tokenizer_12hz", kind, size)

    def config(contents: Mapping[str, Any]) -> Qwen3TTSConfig:
        return from_json(*(contents[file] for file in SETTINGS))

    return Variant(
        name,
        summary,
        "Apache-2.0",
        _published(kind, size),
        (
            Part(WEIGHTS, {}, WITH_VOICES if kind == "base" else WITHOUT_VOICES),
            Part(
                tuple(f"{CODEC}{file}" for file in WEIGHTS),
                {"decoder.decoder.6.conv.bias": (1,)},
                qwen3_codec.weights(PUBLISHED_CODEC),
                "codec.",
            ),
        ),
        repository,
        (TOKENIZER,),
        settings=Settings(SETTINGS, fits, config),
        example=EXAMPLES[kind],
    )


VARIANTS = (
    _variant("0.6b-base", "base", "0b6", "clones voices", "Qwen/Qwen3-TTS-12Hz-0.6B-Base"),
    _variant("1.7b-base", "base", "1b7", "clones voices", "Qwen/Qwen3-TTS-12Hz-1.7B-Base"),
    _variant("0.6b-custom-voice", "custom_voice", "0b6", "voices by name", "Qwen/Qwen3-TTS-12Hz-0.6B-CustomVoice"),
    _variant(
        "1.7b-custom-voice",
        "custom_voice",
        "1b7",
        "voices by name, with instructions",
        "Qwen/Qwen3-TTS-12Hz-1.7B-CustomVoice",
    ),
    _variant(
        "1.7b-voice-design", "voice_design", "1b7", "voices by description", "Qwen/Qwen3-TTS-12Hz-1.7B-VoiceDesign"
    ),
)

PORT = Port(
    name="qwen3_tts",
    summary="Qwen3-TTS speech synthesis",
    task="text to speech",
    variants={variant.name: variant for variant in VARIANTS},
    config_type=Qwen3TTSConfig,
    build=Qwen3TTS,
    model=Qwen3TTSModel,
    quantization=QUANTIZATION,
    reference=REFERENCE,
)
