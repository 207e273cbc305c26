"""Whisper's dimensions (whisper/model.py, ModelDimensions), and those that were published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from pytorch_to_mlx.components.decoder import DecoderConfig
from pytorch_to_mlx.errors import ConfigError

ENGLISH_WORDS = 51864
"""Tokens of the models that know English only; the others have more, by how many languages they know."""
LANGUAGE_TOKENS = ENGLISH_WORDS - 98
VOCABULARIES = {ENGLISH_WORDS: "English", ENGLISH_WORDS + 1: "99 languages", ENGLISH_WORDS + 2: "100 languages"}
Heads = tuple[tuple[int, int], ...]
POSITIONS = 1500
"""Of the encoder's output, for 30 s."""


@dataclass(frozen=True)
class WhisperConfig:
    """Dimensions, under upstream's names.

    Attributes:
        n_mels: bands of the spectrum.
        n_audio_ctx: positions of a window of 30 s.
        n_text_ctx: the most tokens of a window, prompt included.
        alignment_heads: (layer, head) pairs of the decoder that attend to what is being said; the upper half of the
            layers where none are known.
    """

    n_mels: int
    n_audio_ctx: int
    n_audio_state: int
    n_audio_head: int
    n_audio_layer: Annotated[int, Field(le=1000)]
    n_vocab: int
    n_text_ctx: int
    n_text_state: int
    n_text_head: int
    n_text_layer: Annotated[int, Field(le=1000)]
    alignment_heads: Heads = ()

    def __post_init__(self) -> None:
        if self.n_audio_state != self.n_text_state:
            raise ConfigError("whisper: n_audio_state and n_text_state must be one")
        if self.n_vocab not in VOCABULARIES:
            known = ", ".join(f"{size} ({name})" for size, name in VOCABULARIES.items())
            raise ConfigError(
                f"whisper: n_vocab {self.n_vocab} is none of Whisper's vocabularies, {known}; of tokens that"
                " somebody added upstream's files know no text: cut the table of tokens back before converting"
            )
        if any(not (0 <= i < self.n_text_layer and 0 <= j < self.n_text_head) for i, j in self.alignment_heads):
            raise ConfigError("whisper: alignment_heads name a head that the model has not")

    @property
    def multilingual(self) -> bool:
        """Whether it knows other languages than English, and can translate."""
        return self.n_vocab > ENGLISH_WORDS

    @property
    def languages(self) -> int:
        """How many languages it knows."""
        return self.n_vocab - LANGUAGE_TOKENS if self.multilingual else 1

    @property
    def heads(self) -> Heads:
        """Those that tell when words are said."""
        upper = range(self.n_text_layer // 2, self.n_text_layer)
        return self.alignment_heads or tuple((layer, head) for layer in upper for head in range(self.n_text_head))

    @property
    def decoder(self) -> DecoderConfig:
        """The decoder as a setting of the common one."""
        return DecoderConfig(
            num_layers=self.n_text_layer,
            hidden_size=self.n_text_state,
            intermediate_size=4 * self.n_text_state,
            num_heads=self.n_text_head,
            num_kv_heads=self.n_text_head,
            head_dim=self.n_text_state // self.n_text_head,
            norm="layer",
            mlp="gelu",
            qkv_bias=True,
            output_bias=True,
            mlp_bias=True,
            max_positions=self.n_text_ctx,
            cross_attention=True,
        )


def _sized(
    state: int, layers: tuple[int, int], n_vocab: int, heads: Mapping[int, tuple[int, ...]], n_mels: int = 80
) -> WhisperConfig:
    """Layers of encoder and decoder; heads of 64 channels; alignment heads by layer."""
    pairs = tuple((layer, head) for layer, each in heads.items() for head in each)
    count = state // 64
    return WhisperConfig(n_mels, POSITIONS, state, count, layers[0], n_vocab, 448, state, count, layers[1], pairs)


ENGLISH, MANY, HUNDRED = ENGLISH_WORDS, ENGLISH_WORDS + 1, ENGLISH_WORDS + 2
LARGE_V2 = {
    10: (12,), 13: (17,), 16: (11, 12, 13), 17: (15, 16), 18: (4, 11, 19), 19: (11,), 21: (2, 3), 22: (3, 9, 12),
    23: (5, 7, 13), 25: (5,), 26: (1, 12), 27: (15,),
}  # fmt: skip
LARGE_V3 = {
    7: (0,), 10: (17,), 12: (18,), 13: (12,), 16: (1,), 17: (14,), 19: (11,), 21: (4,), 24: (1,), 25: (6,),
}  # fmt: skip
MEDIUM_EN = {
    11: (4,), 14: (1, 12, 14), 15: (4,), 16: (0, 4, 9), 17: (12, 14), 18: (7, 10, 15), 20: (0, 3, 9, 14), 21: (12,),
}  # fmt: skip
SMALL_EN = {6: (6,), 7: (0, 3, 8), 8: (2, 5, 7), 9: (0, 4, 8, 10), 10: (0, 1, 2, 3, 6, 11), 11: (2, 4)}

PUBLISHED = {
    "tiny.en": _sized(384, (4, 4), ENGLISH, {1: (0,), 2: (0, 5), 3: (0, 1, 2, 3, 4)}),
    "tiny": _sized(384, (4, 4), MANY, {2: (2,), 3: (0, 2, 3, 4, 5)}),
    "base.en": _sized(512, (6, 6), ENGLISH, {3: (3,), 4: (7,), 5: (1, 5, 7)}),
    "base": _sized(512, (6, 6), MANY, {3: (1,), 4: (2, 3, 7), 5: (1, 2, 4, 6)}),
    "small.en": _sized(768, (12, 12), ENGLISH, SMALL_EN),
    "small": _sized(768, (12, 12), MANY, {5: (3, 9), 8: (0, 4, 7, 8), 9: (0, 7, 9), 10: (5,)}),
    "medium.en": _sized(1024, (24, 24), ENGLISH, MEDIUM_EN),
    "medium": _sized(1024, (24, 24), MANY, {13: (15,), 15: (4, 15), 16: (1,), 20: (0,), 23: (4,)}),
    "large-v1": _sized(1280, (32, 32), MANY, {9: (19,), 11: (2, 4, 17), 22: (7, 11, 17), 23: (2, 15)}),
    "large-v2": _sized(1280, (32, 32), MANY, LARGE_V2),
    "large-v3": _sized(1280, (32, 32), HUNDRED, LARGE_V3, 128),
    "large-v3-turbo": _sized(1280, (32, 4), HUNDRED, {2: (4, 11), 3: (3, 6, 11, 14)}, 128),
    "distil-small.en": _sized(768, (12, 4), ENGLISH, {}),
    "distil-medium.en": _sized(1024, (24, 2), ENGLISH, {}),
    "distil-large-v2": _sized(1280, (32, 2), MANY, {}),
    "distil-large-v3": _sized(1280, (32, 2), HUNDRED, {}, 128),
}
"""Alignment heads are those of `whisper/__init__.py`; of distilled models, files tell them or nobody."""


def from_json(contents: Mapping[str, Any]) -> WhisperConfig:
    """Of transformers' `config.json`, and of `generation_config.json` where that is there.

    Alignment heads of which the model lacks one are another model's, such as its teacher's: then none are known.

    Raises:
        KeyError: a setting is missing.
        ConfigError: it is none of Whisper's networks.
    """
    told = contents["config.json"]
    layers, heads = int(told["decoder_layers"]), int(told["decoder_attention_heads"])
    pairs = tuple((int(i), int(j)) for i, j in contents.get("generation_config.json", {}).get("alignment_heads") or ())
    if told["max_source_positions"] != POSITIONS:
        raise ConfigError(f"whisper: max_source_positions {told['max_source_positions']}; 30 s are {POSITIONS}")
    if told.get("activation_function", "gelu") != "gelu" or told.get("scale_embedding"):
        raise ConfigError("whisper: another activation than gelu, or scaled embeddings")
    for name, width in (("encoder_ffn_dim", 4 * int(told["d_model"])), ("decoder_ffn_dim", 4 * int(told["d_model"]))):
        if told.get(name, width) != width:
            raise ConfigError(f"whisper: {name} {told[name]} is not four times d_model")
    return WhisperConfig(
        n_mels=int(told["num_mel_bins"]),
        n_audio_ctx=int(told["max_source_positions"]),
        n_audio_state=int(told["d_model"]),
        n_audio_head=int(told["encoder_attention_heads"]),
        n_audio_layer=int(told["encoder_layers"]),
        n_vocab=int(told["vocab_size"]),
        n_text_ctx=int(told["max_target_positions"]),
        n_text_state=int(told["d_model"]),
        n_text_head=heads,
        n_text_layer=layers,
        alignment_heads=pairs if all(i < layers and j < heads for i, j in pairs) else (),
    )
