"""What differs between Qwen3-TTS's models, and how upstream's files tell it (configuration_qwen3_tts.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from pytorch_to_mlx.components import qwen3_codec
from pytorch_to_mlx.components.decoder import DecoderConfig
from pytorch_to_mlx.components.ecapa import EcapaConfig
from pytorch_to_mlx.components.qwen3_codec import CodecConfig
from pytorch_to_mlx.models.qwen3_tts.sampling import SamplingSettings

Kind = Literal["base", "custom_voice", "voice_design"]
Count = Annotated[int, Field(ge=2, le=64)]
Token = Annotated[int, Field(ge=0)]
SPECIAL = 1024
"""So many of the last tokens of the first code's vocabulary are no codes."""


@dataclass(frozen=True)
class SpecialTokens:
    """Numbers of the tokens that are not said: of the text (`tts_...`), and of the first code."""

    tts_bos: Token
    tts_eos: Token
    tts_pad: Token
    bos: Token
    eos: Token
    pad: Token
    think: Token
    nothink: Token
    think_bos: Token
    think_eos: Token


@dataclass(frozen=True)
class TalkerConfig:
    """From text to codes.

    Attributes:
        backbone: of one position a frame, `predictor` of one a code within a frame.
        vocabulary: of the first code, its special tokens among them; `codebook_size` of the others.
        codes: in a frame.
        speakers: their tokens by name; `dialects` the language of those who speak one that is their own.
        languages: their tokens by name, dialects among them.
    """

    backbone: DecoderConfig
    predictor: DecoderConfig
    vocabulary: int
    codebook_size: int
    codes: Count
    text_vocabulary: int
    text_hidden_size: int
    tokens: SpecialTokens
    languages: Mapping[str, Token] = field(default_factory=dict)
    speakers: Mapping[str, Token] = field(default_factory=dict)
    dialects: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        told = vars(self.tokens).items()
        spoken = {name: number for name, number in told if not name.startswith("tts_")} | {**self.languages}
        written = {name: number for name, number in told if name.startswith("tts_")}
        for tokens, room in ((spoken | {**self.speakers}, self.vocabulary), (written, self.text_vocabulary)):
            for name, number in tokens.items():
                if number >= room:
                    raise ValueError(f"token {number} of {name} is outside the vocabulary of {room}")
        if unknown := set(self.dialects.values()) - set(self.languages):
            raise ValueError(f"a speaker's dialect {min(unknown)!r} is none of the languages")


@dataclass(frozen=True)
class Qwen3TTSConfig:
    """One model.

    Attributes:
        kind: voices are cloned (base), chosen by name (custom_voice) or described (voice_design).
        size: "0b6" or "1b7", of which only the larger follows instructions.
        sampling: what the model's authors recommend.
    """

    kind: Kind
    size: str
    talker: TalkerConfig
    codec: CodecConfig
    speaker_encoder: EcapaConfig | None = None
    sampling: SamplingSettings = field(default_factory=SamplingSettings)

    def __post_init__(self) -> None:
        talker, codec = self.talker, self.codec.decoder
        spoken = (talker.codes, talker.codebook_size, talker.vocabulary - SPECIAL)
        known = (codec.quantizers, codec.codebook_size, codec.codebook_size)
        if spoken != known:
            raise ValueError(
                f"the talker says {spoken[0]} codes below {spoken[1]} (the first below {spoken[2]}), the "
                f"codec knows {known[0]} below {known[1]}"
            )
        if self.speaker_encoder is not None and self.speaker_encoder.embedding != talker.backbone.hidden_size:
            raise ValueError("the speaker encoder's embeddings are of another width than the talker")


def from_json(
    told: Mapping[str, Any], sampling: Mapping[str, Any], codec: Mapping[str, Any], heard: Mapping[str, Any]
) -> Qwen3TTSConfig:
    """The configuration of the model whose files say so.

    Args:
        told: config.json.
        sampling: generation_config.json.
        codec, heard: config.json and preprocessor_config.json in speech_tokenizer.

    Raises:
        KeyError, TypeError, ValueError: a setting is missing, of another type, or not implemented.
    """
    kind = told["tts_model_type"]
    return Qwen3TTSConfig(
        kind=kind,
        size=told["tts_model_size"],
        talker=_talker(told),
        codec=qwen3_codec.from_json(codec, heard),
        speaker_encoder=_speaker_encoder(told.get("speaker_encoder_config") or {}) if kind == "base" else None,
        sampling=SamplingSettings.from_json(sampling),
    )


def _talker(told: Mapping[str, Any]) -> TalkerConfig:
    talker = told["talker_config"]
    predictor = talker["code_predictor_config"]
    codes = talker.get("num_code_groups", 32)
    if predictor.get("num_code_groups", 32) != codes:
        raise ValueError("the code predictor is of another number of codes than the talker")
    if not (talker.get("rope_scaling") or {}).get("mrope_section"):
        raise ValueError("the talker has no mrope_section, without which upstream does not run")
    dialects = {name: dialect for name, dialect in (talker.get("spk_is_dialect") or {}).items() if dialect}
    return TalkerConfig(
        backbone=_decoder(talker, layers=20, inner=2048, kv_heads=2),
        predictor=_decoder({"head_dim": 128, **predictor}, layers=5, inner=3072, kv_heads=8),
        vocabulary=talker.get("vocab_size", 3072),
        codebook_size=predictor.get("vocab_size", 2048),
        codes=codes,
        text_vocabulary=talker["text_vocab_size"],
        text_hidden_size=talker.get("text_hidden_size", 2048),
        tokens=SpecialTokens(
            tts_bos=told.get("tts_bos_token_id", 151672),
            tts_eos=told.get("tts_eos_token_id", 151673),
            tts_pad=told.get("tts_pad_token_id", 151671),
            bos=talker.get("codec_bos_id", 4197),
            eos=talker.get("codec_eos_token_id", 4198),
            pad=talker.get("codec_pad_id", 4196),
            think=talker.get("codec_think_id", 4202),
            nothink=talker.get("codec_nothink_id", 4203),
            think_bos=talker.get("codec_think_bos_id", 4204),
            think_eos=talker.get("codec_think_eos_id", 4205),
        ),
        languages=talker.get("codec_language_id") or {},
        speakers=talker.get("spk_id") or {},
        dialects=dialects,
    )


def _decoder(told: Mapping[str, Any], *, layers: int, inner: int, kv_heads: int) -> DecoderConfig:
    """A transformer by the names of its configuration; the other arguments are upstream's defaults.

    Rotary positions have three axes in the talker's. They are equal for text and speech: one is all that there is.
    """
    scaling = told.get("rope_scaling") or {}
    if scaling.get("rope_type", scaling.get("type", "default")) != "default":
        raise ValueError(f"rotary positions are scaled by {scaling.get('rope_type')!r}, which is not implemented")
    if told.get("use_sliding_window") or told.get("hidden_act", "silu") != "silu":
        raise ValueError("sliding windows, and activations other than silu, are not implemented")
    hidden, heads = told.get("hidden_size", 1024), told.get("num_attention_heads", 16)
    bias = told.get("attention_bias", False)
    return DecoderConfig(
        num_layers=told.get("num_hidden_layers", layers),
        hidden_size=hidden,
        intermediate_size=told.get("intermediate_size", inner),
        num_heads=heads,
        num_kv_heads=told.get("num_key_value_heads", kv_heads),
        head_dim=told.get("head_dim") or hidden // heads,
        norm_eps=told.get("rms_norm_eps", 1e-6),
        qkv_bias=bias,
        output_bias=bias,
        qk_norm=True,
        rope_theta=float(told.get("rope_theta", 10000)),
    )


def _speaker_encoder(told: Mapping[str, Any]) -> EcapaConfig:
    if told.get("sample_rate", 24000) != 24000:
        raise ValueError("the speaker encoder does not hear 24 kHz")
    default = EcapaConfig()
    return EcapaConfig(
        mels=told.get("mel_dim", default.mels),
        embedding=told.get("enc_dim", default.embedding),
        channels=tuple(told.get("enc_channels", default.channels)),
        kernels=tuple(told.get("enc_kernel_sizes", default.kernels)),
        dilations=tuple(told.get("enc_dilations", default.dilations)),
        attention_channels=told.get("enc_attention_channels", default.attention_channels),
        scale=told.get("enc_res2net_scale", default.scale),
        squeezed=told.get("enc_se_channels", default.squeezed),
    )
