"""Qwen3-TTS's weight map, and what of it may be quantized."""

from __future__ import annotations

from pytorch_to_mlx.components import ecapa
from pytorch_to_mlx.components.decoder import LLAMA
from pytorch_to_mlx.quantization import Choice, QuantizationPolicy
from pytorch_to_mlx.weights import Rename, WeightMap


def _same(*names: str) -> WeightMap:
    """Tensors that keep their names."""
    return WeightMap(*(Rename(name, name.replace(":d", "")) for name in names))


TALKER = (
    LLAMA.under("model.", "model.")
    + LLAMA.under("code_predictor.model.", "code_predictor.model.")
    + _same(
        "model.{which}_embedding.weight",
        "text_projection.{layer}.{leaf}",
        "codec_head.weight",
        "code_predictor.model.codec_embedding.{n:d}.weight",
        "code_predictor.lm_head.{n:d}.weight",
    )
    + WeightMap(
        Rename(
            "code_predictor.small_to_mtp_projection.{leaf}",
            "code_predictor.small_to_mtp_projection.{leaf}",
            optional=True,
        )
    )
)
"""402 tensors, 404 where the code predictor is narrower than the talker."""

WITHOUT_VOICES = TALKER.under("talker.", "talker.")
WITH_VOICES = WITHOUT_VOICES + ecapa.WEIGHTS.under("speaker_encoder.", "speaker_encoder.")
"""Of base models: 478 and 480 tensors."""

QUANTIZATION = QuantizationPolicy(
    quantize=(
        Choice(
            r"talker\.(model\.layers\.\d+\.self_attn|code_predictor\.model\.layers\.(?![01]\.)\d+\.self_attn)\.qkv_proj",
            "nearly all that is read for each frame",
        ),
        Choice(
            r"talker\.(code_predictor\.)?model\.layers\.\d+\.(self_attn\.o|mlp\.\w+)_proj",
            "nearly all that is read for each frame",
        ),
    ),
    never=(
        Choice(
            r"talker\.(codec_head|code_predictor\.lm_head\.\d+)",
            "they rank the codes: an error here goes straight into what is said",
        ),
        Choice(
            r"talker\.code_predictor\.model\.layers\.[01]\.self_attn\.qkv_proj",
            "all later layers hear their error: at 4 bits logits differ by 21 % with them, by 17 % without",
        ),
        Choice(
            r"talker\.(code_predictor\.)?model\.\w+_embedding(\.\d+)?",
            "a token reads one row: nothing is gained but room",
        ),
        Choice(
            r"talker\.(text_projection\..+|code_predictor\.small_to_mtp_projection)",
            "small, and all of the text, or of what the talker found, passes through it",
        ),
        Choice(r"speaker_encoder\..+", "small, read once, and all that is known of the speaker passes through it"),
        Choice(r"codec\..+", "a code near the border of two would change, and every error of a sample is heard"),
    ),
)
