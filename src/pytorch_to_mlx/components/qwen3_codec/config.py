"""Sizes of the codec, and how upstream's config.json tells them (configuration_qwen3_tts_tokenizer_v2.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any

from pydantic import Field

from pytorch_to_mlx.components.decoder import DecoderConfig
from pytorch_to_mlx.components.mimi import CODEBOOKS, Count, MimiEncoderConfig

USED = 16


MOST_SAMPLES = 2**16
"""Of a frame of codes; the published one makes 1920."""


@dataclass(frozen=True)
class CodecDecoderConfig:
    """From codes to sound.

    Attributes:
        codebook_dim: channels of what the quantizer gives; its vectors have half as many.
        latent_dim: channels between the transformer and the convolutions.
        ratios: upsampling before the decoder's blocks, `rates` within them.
        channels: of the first block's input; each block halves them.
    """

    transformer: DecoderConfig
    codebook_size: int = 2048
    codebook_dim: int = 512
    quantizers: Annotated[int, Field(ge=2, le=64)] = USED
    latent_dim: int = 1024
    channels: int = 1536
    ratios: tuple[Count, ...] = (2, 2)
    rates: tuple[Count, ...] = (8, 5, 4, 3)

    def __post_init__(self) -> None:
        if self.channels % 2 ** len(self.rates):
            raise ValueError(f"{self.channels} channels cannot be halved {len(self.rates)} times")
        if self.samples_per_frame > MOST_SAMPLES:
            raise ValueError(f"the decoder makes more than {MOST_SAMPLES} samples of a frame")
        if self.transformer.sliding_window is None:
            raise ValueError("the decoder's transformer has no sliding window")

    @property
    def samples_per_frame(self) -> int:
        """How many samples a frame of codes becomes."""
        return prod(self.ratios) * prod(self.rates)


@dataclass(frozen=True)
class CodecConfig:
    """Both directions."""

    encoder: MimiEncoderConfig
    decoder: CodecDecoderConfig
    sample_rate: Annotated[int, Field(ge=1)] = 24000


def encoder_transformer(given: Mapping[str, Any]) -> DecoderConfig:
    """Mimi's transformer by the names of its configuration."""
    return _transformer(
        given,
        (512, 2048, 8),
        norm="layer",
        norm_eps=given.get("norm_eps", 1e-5),
        final_norm=False,
        mlp="gelu",
        rope_theta=given.get("rope_theta", 10000.0),
    )


def decoder_transformer(given: Mapping[str, Any]) -> DecoderConfig:
    """The decoder's transformer by the names of its configuration."""
    return _transformer(
        given,
        (1024, 3072, 16),
        norm_eps=given.get("rms_norm_eps", 1e-5),
        rope_theta=float(given.get("rope_theta", 10000)),
        sliding_window=given.get("sliding_window", 72),
    )


def _transformer(given: Mapping[str, Any], defaults: tuple[int, int, int], **others: Any) -> DecoderConfig:
    """What both tell by the same names; the defaults are of the hidden size, the intermediate one, and the heads."""
    hidden, heads = given.get("hidden_size", defaults[0]), given.get("num_attention_heads", defaults[2])
    bias = given.get("attention_bias", False)
    return DecoderConfig(
        num_layers=given.get("num_hidden_layers", 8),
        hidden_size=hidden,
        intermediate_size=given.get("intermediate_size", defaults[1]),
        num_heads=heads,
        num_kv_heads=given.get("num_key_value_heads", defaults[2]),
        head_dim=given.get("head_dim") or hidden // heads,
        qkv_bias=bias,
        output_bias=bias,
        layer_scale=True,
        **others,
    )


IMPLEMENTED = {
    "encoder_valid_num_quantizers": USED,
    "encoder_config.num_quantizers": CODEBOOKS,
    "encoder_config.num_semantic_quantizers": 1,
    "encoder_config.use_causal_conv": True,
    "encoder_config.num_residual_layers": 1,
    "encoder_config.use_conv_shortcut": False,
    "encoder_config.audio_channels": 1,
    "encoder_config.pad_mode": "constant",
    "encoder_config.hidden_act": "gelu",
    "encoder_config.rope_scaling": None,
    "decoder_config.num_quantizers": USED,
    "decoder_config.hidden_act": "silu",
    "decoder_config.rope_scaling": None,
}
"""What of upstream's settings has one value here, which is also its default."""


def _refuse_others(told: Mapping[str, Any]) -> None:
    for path, known in IMPLEMENTED.items():
        section, _, key = path.rpartition(".")
        value = ((told.get(section) or {}) if section else told).get(key, known)
        if value != known:
            raise ValueError(f"{path} {value!r} is not implemented, only {known!r}")


def from_json(told: Mapping[str, Any], heard: Mapping[str, Any] | None = None) -> CodecConfig:
    """The configuration of the model whose config.json says so; what is left out is upstream's default.

    Args:
        told: config.json.
        heard: preprocessor_config.json, where there is one.

    Raises:
        ValueError: a setting is not implemented, or two of them do not agree.
    """
    _refuse_others(told)
    encoder, decoder = told.get("encoder_config") or {}, told.get("decoder_config") or {}
    made = _sizes(told, encoder, decoder)
    rate = made.sample_rate
    agreeing = {
        "input_sample_rate": (told.get("input_sample_rate", 24000), rate),
        "encoder_config.sampling_rate": (encoder.get("sampling_rate", 24000), rate),
        "preprocessor_config.json's sampling_rate": ((heard or {}).get("sampling_rate", 24000), rate),
        "encode_downsample_rate": (told.get("encode_downsample_rate", 1920), made.encoder.samples_per_frame),
        "decode_upsample_rate": (told.get("decode_upsample_rate", 1920), made.decoder.samples_per_frame),
    }
    for name, (value, expected) in agreeing.items():
        if value != expected:
            raise ValueError(f"{name} {value!r} does not agree with the rest, which makes it {expected}")
    return made


def _sizes(told: Mapping[str, Any], encoder: Mapping[str, Any], decoder: Mapping[str, Any]) -> CodecConfig:
    return CodecConfig(
        MimiEncoderConfig(
            encoder_transformer(encoder),
            filters=encoder.get("num_filters", 64),
            ratios=tuple(reversed(encoder.get("upsampling_ratios") or (8, 6, 5, 4))),
            kernel_size=encoder.get("kernel_size", 7),
            residual_kernel_size=encoder.get("residual_kernel_size", 3),
            last_kernel_size=encoder.get("last_kernel_size", 3),
            compress=encoder.get("compress", 2),
            codebook_size=encoder.get("codebook_size", 2048),
            codebook_dim=encoder.get("codebook_dim", 256),
        ),
        CodecDecoderConfig(
            decoder_transformer(decoder),
            codebook_size=decoder.get("codebook_size", 2048),
            codebook_dim=decoder.get("codebook_dim", 512),
            latent_dim=decoder.get("latent_dim", 1024),
            channels=decoder.get("decoder_dim", 1536),
            ratios=tuple(decoder.get("upsampling_ratios", (2, 2))),
            rates=tuple(decoder.get("upsample_rates", (8, 5, 4, 3))),
        ),
        sample_rate=told.get("output_sample_rate", 24000),
    )


PUBLISHED = from_json(
    {"decoder_config": {"codebook_dim": 512, "head_dim": 64, "hidden_size": 512, "intermediate_size": 1024}}
)
"""Of Qwen/Qwen3-TTS-Tokenizer-12Hz, and inside the models."""
