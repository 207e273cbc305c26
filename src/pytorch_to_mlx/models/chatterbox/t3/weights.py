"""T3's weight maps, names relative to the network, and what of it may be quantized."""

from __future__ import annotations

from pytorch_to_mlx.components.decoder import GPT2, LLAMA
from pytorch_to_mlx.models.chatterbox.t3.config import T3Config
from pytorch_to_mlx.quantization import Choice, QuantizationPolicy
from pytorch_to_mlx.weights import Drop, Rename, WeightMap

UNUSED_TABLE = "the backbone's own table of embeddings: T3 embeds text and speech itself"

_AROUND = WeightMap(
    Rename("cond_enc.spkr_enc.{leaf}", "cond_enc.spkr_enc.{leaf}"),
    Rename("text_emb.weight", "text_emb.weight"),
    Rename("speech_emb.weight", "speech_emb.weight"),
    Rename("text_head.weight", "text_head.weight"),
    Rename("speech_head.weight", "speech_head.weight"),
)

AROUND_LLAMA = _AROUND + WeightMap(
    Rename("cond_enc.emotion_adv_fc.weight", "cond_enc.emotion_adv_fc.weight"),
    Rename("cond_enc.perceiver.{p*}", "cond_enc.perceiver.{p}"),
    Rename("text_pos_emb.emb.weight", "text_pos_emb.emb.weight"),
    Rename("speech_pos_emb.emb.weight", "speech_pos_emb.emb.weight"),
)
"""All of English and multilingual but the backbone."""

LLAMA_WEIGHTS = (
    AROUND_LLAMA + WeightMap(Drop("tfmr.embed_tokens.weight", UNUSED_TABLE, count=1)) + LLAMA.under("tfmr.", "tfmr.")
)
"""English and multilingual: 292 tensors."""

GPT2_WEIGHTS = (
    _AROUND
    + WeightMap(
        Rename("speech_head.bias", "speech_head.bias"),
        Drop("tfmr.wte.weight", UNUSED_TABLE, count=1),
    )
    + GPT2.under("tfmr.", "tfmr.")
)
"""Turbo: 299 tensors."""


def weights(config: T3Config) -> WeightMap:
    """The map of a variant."""
    return GPT2_WEIGHTS if config.turbo else LLAMA_WEIGHTS


QUANTIZATION = QuantizationPolicy(
    quantize=(
        Choice(
            r"tfmr\.layers\.\d+\.(self_attn|mlp)\.\w+_proj",
            "the backbone's linear layers: nearly all that is read for each token",
        ),
    ),
    never=(
        Choice(r"(text|speech)_head", "they rank the tokens: an error here goes straight into what is said"),
        Choice(r"(text|speech)_emb|(text|speech)_pos_emb\.emb|tfmr\.wpe", "a token reads one row: nothing is gained"),
        Choice(r"cond_enc\..+", "small, read once, and all that is known of the speaker passes through it"),
    ),
)
