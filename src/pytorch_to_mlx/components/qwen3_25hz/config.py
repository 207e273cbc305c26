"""Sizes of the 25 Hz tokenizer, and how upstream's config.json tells them (configuration_qwen3_tts_tokenizer_v1.py)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from pytorch_to_mlx.components.ecapa import EcapaConfig

RATE = 16000
"""What its front ends hear."""
HOP = 160
LAYERS = 6
"""Blocks of Whisper's encoder before the codebook."""
MOST_LAYERS = 64
"""With those that follow it, which are of no use for codes."""
MOST_SAMPLES = 4096
"""Of a frame of the spectrum; published ones make 240."""
Count = Annotated[int, Field(ge=1, le=256)]
Size = Annotated[int, Field(ge=1, le=65536)]


@dataclass(frozen=True)
class EncoderConfig:
    """From sound to codes.

    Attributes:
        state: channels.
        window: positions, 50 a second, that are encoded together.
        rate: positions that become one code.
        vectors: of the codebook.
    """

    state: Size = 1280
    heads: Count = 20
    window: Annotated[int, Field(ge=1, le=1500)] = 100
    rate: Annotated[int, Field(ge=2, le=16)] = 2
    vectors: Annotated[int, Field(ge=2, le=2**20)] = 32768

    def __post_init__(self) -> None:
        if self.window % self.rate:
            raise ValueError(f"windows of {self.window} positions cannot be cut into codes of {self.rate}")
        if self.state % self.heads:
            raise ValueError(f"{self.state} channels cannot be split among {self.heads} heads")

    @property
    def samples_per_code(self) -> int:
        """How many samples at 16 kHz a code stands for."""
        return 2 * HOP * self.rate


@dataclass(frozen=True)
class DiTConfig:
    """From codes to a spectrum.

    Attributes:
        block: frames that attend to each other; `ahead` and `behind` are the layers that see a block more.
        repeats: frames that a code stands for.
        codes: rows of the table of codes, the first of which also stands for none.
        xvector: numbers that describe a voice, from outside.
    """

    speaker: EcapaConfig
    hidden: Size = 1024
    layers: Count = 22
    heads: Count = 16
    head_dim: Annotated[int, Field(ge=2, le=1024, multiple_of=2)] = 64
    ff_mult: Count = 2
    block: Size = 24
    ahead: tuple[int, ...] = (10,)
    behind: tuple[int, ...] = (0, 20)
    repeats: Count = 2
    codes: Annotated[int, Field(ge=2, le=2**20)] = 8194
    code_dim: Size = 512
    xvector: Size = 192

    @property
    def mels(self) -> int:
        """Bands of the spectrum."""
        return self.speaker.mels


@dataclass(frozen=True)
class VocoderConfig:
    """From a spectrum to sound.

    Attributes:
        channels: before the first upsampling; each halves them.
        rates, kernels: of upsampling.
        block_kernels, dilations: of the residual blocks that follow each.
    """

    mels: Size = 80
    channels: Size = 1536
    rates: tuple[Count, ...] = (5, 3, 2, 2, 2, 2)
    kernels: tuple[Count, ...] = (11, 7, 4, 4, 4, 4)
    block_kernels: tuple[Count, ...] = (3, 7, 11)
    dilations: tuple[tuple[Count, ...], ...] = ((1, 3, 5),) * 3

    def __post_init__(self) -> None:
        if not 1 <= len(self.rates) == len(self.kernels) <= 16:
            raise ValueError("rates and kernels of the vocoder's upsampling must be as many")
        if not 1 <= len(self.block_kernels) == len(self.dilations) <= 16:
            raise ValueError("kernels and dilations of the vocoder's blocks must be as many")
        if any(len(each) != 3 for each in self.dilations):
            raise ValueError("a block of the vocoder has three dilations")
        if any(kernel % 2 == 0 for kernel in self.block_kernels):
            raise ValueError("kernels of the vocoder's blocks must be odd")
        if any((k - rate) % 2 or k < rate for rate, k in zip(self.rates, self.kernels, strict=True)):
            raise ValueError("an upsampling kernel of the vocoder does not fit its rate")
        if math.prod(self.rates) > MOST_SAMPLES:
            raise ValueError(f"the vocoder makes more than {MOST_SAMPLES} samples of a frame")
        if self.channels % 2 ** len(self.rates):
            raise ValueError(f"{self.channels} channels cannot be halved {len(self.rates)} times")


@dataclass(frozen=True)
class Tokenizer25Config:
    """Both directions.

    Attributes:
        samples_per_code: at most, of the sound that codes make: upstream cuts what is longer.
    """

    encoder: EncoderConfig
    dit: DiTConfig
    vocoder: VocoderConfig
    sample_rate: Annotated[int, Field(ge=1, le=384000)] = 24000
    samples_per_code: Annotated[int, Field(ge=1)] = 1920

    def __post_init__(self) -> None:
        if self.vocoder.mels != self.dit.mels:
            raise ValueError(f"a spectrum of {self.dit.mels} bands for a vocoder of {self.vocoder.mels}")


IMPLEMENTED = {
    "encoder_config.n_mels": 128,
    "encoder_config.n_ctx": 1500,
    "encoder_config.audio_vq_type": "GRVQ",
    "encoder_config.audio_vq_layers": LAYERS,
    "decoder_config.dit_config.mel_dim": 80,
}
"""What of upstream's settings has one value here, which is also its default."""


HEARD = {
    "sampling_rate": (RATE, 24000),
    "feature_size": (1, 1),
    "feature_extractor_type": ("EncodecFeatureExtractor", "EncodecFeatureExtractor"),
}
"""Likewise of preprocessor_config.json: what there must be, and what stands for nothing."""


def from_json(told: Mapping[str, Any], heard: Mapping[str, Any] | None = None) -> Tokenizer25Config:
    """The configuration of the model whose config.json says so; what is left out is upstream's default.

    Args:
        told: config.json.
        heard: preprocessor_config.json, where there is one.

    Raises:
        ValueError: a setting is not implemented, or two of them do not agree.
    """
    for path, known in IMPLEMENTED.items():
        *sections, key = path.split(".")
        section: Mapping[str, Any] = told
        for name in sections:
            section = section.get(name) or {}
        if (value := section.get(key, known)) != known:
            raise ValueError(f"{path} {value!r} is not implemented, only {known!r}")
    for key, (known, default) in HEARD.items() if heard is not None else ():
        if heard is not None and (value := heard.get(key, default)) != known:
            raise ValueError(f"preprocessor_config.json's {key} {value!r} is not implemented, only {known!r}")
    decoder = told.get("decoder_config") or {}
    return Tokenizer25Config(
        _encoder(told.get("encoder_config") or {}),
        _dit(decoder.get("dit_config") or {}),
        _vocoder(decoder.get("bigvgan_config") or {}),
        sample_rate=told.get("output_sample_rate", 24000),
        samples_per_code=told.get("decode_upsample_rate", 1920),
    )


def _encoder(given: Mapping[str, Any]) -> EncoderConfig:
    state, layers = given.get("n_state", 1280), given.get("n_layer", 32)
    if not LAYERS <= layers <= MOST_LAYERS:
        raise ValueError(f"encoder_config.n_layer {layers!r} is not between {LAYERS} and {MOST_LAYERS}")
    if (dim := given.get("audio_vq_codebook_dim", 1280)) != state:
        raise ValueError(f"encoder_config.audio_vq_codebook_dim {dim!r} is not implemented, only n_state's {state}")
    return EncoderConfig(
        state,
        given.get("n_head", 20),
        given.get("n_window", 100),
        given.get("audio_vq_ds_rate", 2),
        given.get("audio_vq_codebook_size", 32768),
    )


def _dit(given: Mapping[str, Any]) -> DiTConfig:
    channels = tuple(given.get("enc_channels", (256, 256, 256, 256, 768)))
    scale = given.get("enc_res2net_scale", 2)
    if channels[-1] != sum(channels[1:-1]):
        raise ValueError(f"dit_config.enc_channels {channels}: the last must be the sum of those between the ends")
    if not isinstance(scale, int) or scale < 1 or any(width % scale for width in channels[1:-1]):
        raise ValueError(f"dit_config.enc_res2net_scale {scale!r} does not divide enc_channels {channels}")
    speaker = EcapaConfig(
        mels=80,
        embedding=given.get("enc_dim", 128),
        channels=channels,
        kernels=tuple(given.get("enc_kernel_sizes", (5, 3, 3, 3, 1))),
        dilations=tuple(given.get("enc_dilations", (1, 2, 3, 4, 1))),
        attention_channels=given.get("enc_attention_channels", 64),
        scale=scale,
        squeezed=given.get("enc_se_channels", 64),
    )
    return DiTConfig(
        speaker,
        hidden=given.get("hidden_size", 1024),
        layers=given.get("num_hidden_layers", 22),
        heads=given.get("num_attention_heads", 16),
        head_dim=given.get("head_dim", 64),
        ff_mult=given.get("ff_mult", 2),
        block=given.get("block_size", 24),
        ahead=tuple(given.get("look_ahead_layers", (10,))),
        behind=tuple(given.get("look_backward_layers", (0, 20))),
        repeats=given.get("repeats", 2),
        codes=given.get("num_embeds", 8193) + 1,
        code_dim=given.get("emb_dim", 512),
        xvector=given.get("enc_emb_dim", 192),
    )


def _vocoder(given: Mapping[str, Any]) -> VocoderConfig:
    return VocoderConfig(
        mels=given.get("mel_dim", 80),
        channels=given.get("upsample_initial_channel", 1536),
        rates=tuple(given.get("upsample_rates", (5, 3, 2, 2, 2, 2))),
        kernels=tuple(given.get("upsample_kernel_sizes", (11, 7, 4, 4, 4, 4))),
        block_kernels=tuple(given.get("resblock_kernel_sizes", (3, 7, 11))),
        dilations=tuple(tuple(each) for each in given.get("resblock_dilation_sizes", ((1, 3, 5),) * 3)),
    )


DEFAULTS = from_json({})
"""Of upstream's classes: no settings of a published model are in its package."""
