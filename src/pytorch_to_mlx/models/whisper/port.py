"""Whisper: what the port declares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pytorch_to_mlx.errors import ConfigError
from pytorch_to_mlx.models.whisper.config import PUBLISHED, WhisperConfig, from_json
from pytorch_to_mlx.models.whisper.model import WhisperModel
from pytorch_to_mlx.models.whisper.network import Whisper
from pytorch_to_mlx.models.whisper.stages import STAGES
from pytorch_to_mlx.models.whisper.vocabulary import FILE
from pytorch_to_mlx.models.whisper.weights import OPENAI, TRANSFORMERS
from pytorch_to_mlx.port import Asset, Part, Port, Reference, Settings, Variant
from pytorch_to_mlx.quantization import Choice, QuantizationPolicy

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
PACKAGE = "openai-whisper"
OTHERS = {"other": PUBLISHED["tiny"], "other.en": PUBLISHED["tiny.en"]}
"""Sizes that were not published, in transformers' layout; beside them, one of the same vocabulary."""


def _sizes(config: WhisperConfig) -> WhisperConfig:
    return replace(config, alignment_heads=())


def _told(contents: Mapping[str, Any]) -> WhisperConfig | None:
    """None of another model, and of sizes that cannot be."""
    try:
        return from_json(contents) if _is_whisper(contents) else None
    except ConfigError:
        return None


def _is_whisper(contents: Mapping[str, Any]) -> bool:
    return contents["config.json"]["model_type"] == "whisper"


def _is_other(contents: Mapping[str, Any], *, multilingual: bool) -> bool:
    """Of sizes that were not published; of those that cannot be too, as multilingual, so that somebody tells why."""
    if not _is_whisper(contents):
        return False
    told = _told(contents)
    if told is None:
        return multilingual
    return told.multilingual == multilingual and all(_sizes(told) != _sizes(each) for each in PUBLISHED.values())


def _part(config: WhisperConfig, files: tuple[str, ...]) -> Part:
    """Its forms: OpenAI's file, the same without its outer name, transformers'."""

    def signature(before: str, blocks: str, table: str) -> dict[str, tuple[int, ...] | None]:
        square = (config.n_text_state, config.n_text_state)
        key = {"blocks": "attn.key", "layers": "self_attn.k_proj"}[blocks]
        depths = {"encoder": config.n_audio_layer, "decoder": config.n_text_layer}
        return {
            f"{before}encoder.conv1.weight": (config.n_audio_state, config.n_mels, 3),
            f"{before}decoder.{table}.weight": (config.n_vocab, config.n_text_state),
            **{f"{before}{part}.{blocks}.{depth - 1}.{key}.weight": square for part, depth in depths.items()},
            **{f"{before}{part}.{blocks}.{depth}.{key}.weight": None for part, depth in depths.items()},
        }

    outer = "model_state_dict."
    return Part(
        files,
        signature(outer, "blocks", "token_embedding"),
        OPENAI.under(outer, ""),
        instead=(
            Part((), signature("", "blocks", "token_embedding"), OPENAI),
            Part((), signature("model.", "layers", "embed_tokens"), TRANSFORMERS),
        ),
    )


def _vocabulary(config: WhisperConfig) -> Asset:
    name = "multilingual" if config.multilingual else "gpt2"
    return Asset(FILE, (f"assets/{name}.tiktoken",), package=PACKAGE)


def _variant(name: str, config: WhisperConfig) -> Variant:
    distilled = name.startswith("distil-")

    def fits(contents: Mapping[str, Any]) -> bool:
        told = _told(contents)
        if told is None or _sizes(told) != _sizes(config):
            return False
        # What differs in nothing else is told by its alignment heads.
        twins = [each for each in PUBLISHED.values() if _sizes(each) == _sizes(config)]
        return told.alignment_heads == config.alignment_heads or told.alignment_heads not in [
            twin.alignment_heads for twin in twins
        ]

    def read(contents: Mapping[str, Any]) -> WhisperConfig:
        told = from_json(contents)
        return told if told.alignment_heads else replace(told, alignment_heads=config.alignment_heads)

    repository = "openai/whisper-large" if name == "large-v1" else f"openai/whisper-{name}"
    return Variant(
        name,
        f"{'English' if not config.multilingual else f'{config.languages} languages'}, "
        f"{config.n_audio_layer} + {config.n_text_layer} layers of {config.n_text_state}",
        "MIT",
        config,
        (_part(config, (f"{name}.pt", *WEIGHTS)),),
        f"distil-whisper/{name}" if distilled else repository,
        (_vocabulary(config),),
        settings=Settings(("config.json",), fits, read, helpful=("generation_config.json",), generic=WEIGHTS),
    )


def _other(name: str, like: WhisperConfig) -> Variant:
    fits = partial(_is_other, multilingual=like.multilingual)
    return Variant(
        name,
        f"other sizes{'' if like.multilingual else ', English'}, in transformers' layout",
        "unknown",
        like,
        (Part(WEIGHTS, {}, TRANSFORMERS),),
        assets=(_vocabulary(like),),
        settings=Settings(("config.json",), fits, from_json, helpful=("generation_config.json",)),
    )


PORT = Port(
    name="whisper",
    summary="Whisper speech recognition and translation",
    task="transcription",
    variants={name: _variant(name, config) for name, config in PUBLISHED.items()}
    | {name: _other(name, like) for name, like in OTHERS.items()},
    config_type=WhisperConfig,
    build=Whisper,
    model=WhisperModel,
    quantization=QuantizationPolicy(
        quantize=(
            Choice(r"(encoder\.blocks|decoder\.layers)\..*", "linear layers of blocks, most of the weights"),
            Choice(r"decoder\.token_embedding", "read whole for each token"),
        ),
        never=(Choice(r"encoder\.conv[12]|decoder\.wpe", "small"),),
    ),
    reference=Reference(script="whisper_asr.py", upstream="openai-whisper 20250625", stages=STAGES),
)
