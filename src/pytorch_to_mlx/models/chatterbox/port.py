"""Chatterbox: what the port declares."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from pytorch_to_mlx.components import campplus, flow, hift, perth
from pytorch_to_mlx.components.s3_tokenizer.weights import V2 as S3_TOKENIZER
from pytorch_to_mlx.components.voice_encoder.weights import CHATTERBOX as VOICE_ENCODER
from pytorch_to_mlx.models.chatterbox import community
from pytorch_to_mlx.models.chatterbox.config import ChatterboxConfig
from pytorch_to_mlx.models.chatterbox.model import ChatterboxModel
from pytorch_to_mlx.models.chatterbox.network import Chatterbox
from pytorch_to_mlx.models.chatterbox.reference import REFERENCE
from pytorch_to_mlx.models.chatterbox.t3.config import ENGLISH, MULTILINGUAL, TURBO
from pytorch_to_mlx.models.chatterbox.t3.weights import QUANTIZATION
from pytorch_to_mlx.models.chatterbox.t3.weights import weights as t3_weights
from pytorch_to_mlx.models.chatterbox.voice import convert_default_voice
from pytorch_to_mlx.port import Asset, Part, Port, Variant
from pytorch_to_mlx.quantization import Choice, QuantizationPolicy
from pytorch_to_mlx.text import gpt2_tokenizer_json
from pytorch_to_mlx.weights import WeightMap

CONFIGS = {
    "english": ChatterboxConfig(ENGLISH, text="english", meanflow=False, prompt_seconds=6, voice="chatterbox"),
    "turbo": ChatterboxConfig(
        TURBO,
        text="gpt2",
        meanflow=True,
        prompt_seconds=15,
        voice="chatterbox-turbo",
        least_prompt_seconds=5,
        loudness=-27,
        trailing_silence=3,
    ),
    "multilingual": ChatterboxConfig(
        MULTILINGUAL, text="multilingual", meanflow=False, prompt_seconds=6, voice="chatterbox"
    ),
}

ORIGIN = (
    "This folder holds the default voice of upstream's `conds.pt`. Whose voice it is, and whether they agreed, is not "
    "documented."
)
EXAMPLE = "--ref-audio anna.wav -l en"  # which not all variants need, and all take


WATERMARKER = Part(perth.FILES, perth.SIGNATURE, perth.WEIGHTS, "perth.", package=perth.PACKAGE)


def _s3gen(meanflow: bool) -> WeightMap:
    return (
        S3_TOKENIZER.under("tokenizer.", "s3_tokenizer.")
        + campplus.WEIGHTS.under("speaker_encoder.", "s3gen.speaker_encoder.")
        + flow.weights(meanflow).under("flow.", "s3gen.flow.")
        + hift.WEIGHTS.under("mel2wav.", "s3gen.mel2wav.")
    )


def _variant(
    name: str, summary: str, t3_file: str, s3gen_files: tuple[str, ...], repository: str, *tokenizer: Asset
) -> Variant:
    config = CONFIGS[name]
    width = config.t3.backbone.hidden_size
    vocabularies = {"text_emb.weight": config.t3.text_vocabulary, "speech_emb.weight": config.t3.speech_vocabulary}
    mixer = {"flow.decoder.estimator.time_embed_mixer.weight": (1024, 2048)} if config.meanflow else {}
    parts = (
        Part(("ve.safetensors", "ve.pt"), {"lstm.weight_ih_l2": (1024, 256)}, VOICE_ENCODER, "ve."),
        Part((t3_file,), {n: (size, width) for n, size in vocabularies.items()}, t3_weights(config.t3), "t3."),
        Part(s3gen_files, {"mel2wav.conv_pre.bias": (512,), **mixer}, _s3gen(config.meanflow)),
        WATERMARKER,
    )
    voice = Asset(
        "conds.safetensors",
        ("conds.pt",),
        make=partial(convert_default_voice, config.voice),
        optional="default_voice",
        notice=ORIGIN,
    )
    return Variant(name, summary, "MIT", config, parts, repository, (*tokenizer, voice), example=EXAMPLE)


VARIANTS = (
    _variant(
        "english",
        "English, with emotion control",
        "t3_cfg.safetensors",
        ("s3gen.safetensors", "s3gen.pt"),
        "ResembleAI/chatterbox",
        Asset("tokenizer.json", ("tokenizer.json",)),
    ),
    _variant(
        "turbo",
        "English, fast, with tags such as [laugh]",
        "t3_turbo_v1.safetensors",
        ("s3gen_meanflow.safetensors",),
        "ResembleAI/chatterbox-turbo",
        Asset(
            "tokenizer.json",
            ("vocab.json", "merges.txt"),
            helpful=("added_tokens.json", "special_tokens_map.json", "tokenizer_config.json"),
            make=gpt2_tokenizer_json,
        ),
        Asset("vocab.json", ("vocab.json",)),
        Asset("merges.txt", ("merges.txt",)),
    ),
    _variant(
        "multilingual",
        "23 languages, with emotion control",
        "t3_mtl23ls_v2.safetensors",
        ("s3gen.pt", "s3gen.safetensors"),
        "ResembleAI/chatterbox",
        Asset("tokenizer.json", ("grapheme_mtl_merged_expanded_v1.json",)),
        Asset("Cangjie5_TC.json", ("Cangjie5_TC.json",)),
    ),
)

COMMUNITY = Variant(
    "english-community",
    "English, from a folder that mlx-audio-plus 0.1.0 converted",
    "MIT",
    CONFIGS["english"],
    (Part(("model.safetensors",), community.SIGNATURE, community.WEIGHTS, refused=community.REFUSED), WATERMARKER),
    "ResembleAI/chatterbox",
    (Asset("tokenizer.json", ("tokenizer.json",)),),
    community.NOTICE,
    example=EXAMPLE,
)

PORT = Port(
    name="chatterbox",
    summary="Chatterbox speech synthesis and voice conversion",
    task="text to speech",
    variants={variant.name: variant for variant in VARIANTS},
    config_type=ChatterboxConfig,
    build=Chatterbox,
    model=ChatterboxModel,
    quantization=QuantizationPolicy(
        quantize=tuple(replace(choice, pattern=f"t3[.]({choice.pattern})") for choice in QUANTIZATION.quantize),
        never=(
            *(replace(choice, pattern=f"t3[.]({choice.pattern})") for choice in QUANTIZATION.never),
            Choice(r"ve\..+", "1.4 M parameters in all, and every bit of a speaker's direction counts"),
            Choice(r"s3gen\.flow\..+", "errors in velocity add up over the solver's steps, and are heard"),
            Choice(r"s3gen\.mel2wav\..+", "the vocoder's errors are heard as they are"),
            Choice(r"s3gen\.speaker_encoder\..+", "small, and all that the flow knows of the speaker"),
            Choice(r"s3_tokenizer\..+", "a token near the border of two codes would change"),
            Choice(r"perth\..+", "the watermark must be found again by upstream's detector"),
        ),
    ),
    reference=REFERENCE,
    imports={COMMUNITY.name: COMMUNITY},
)
