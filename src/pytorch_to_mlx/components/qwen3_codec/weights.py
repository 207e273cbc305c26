"""Weight map from the names of Qwen3TTSTokenizerV2Model: 496 tensors."""

from __future__ import annotations

from pytorch_to_mlx.components import mimi
from pytorch_to_mlx.components.decoder import SCALED_LLAMA
from pytorch_to_mlx.components.mimi import codebook_weights
from pytorch_to_mlx.components.qwen3_codec.config import CodecConfig
from pytorch_to_mlx.weights import Drop, Rename, WeightMap

_VECTORS = codebook_weights(
    "rvq_{which}.vq.layers.{n:d}._codebook.embedding_sum",
    "rvq_{which}.vq.layers.{n:d}._codebook.cluster_usage",
    "rvq_{which}.layers.{n}",
) + WeightMap(Rename("rvq_{which}.output_proj.weight", "rvq_{which}.output_proj.weight", "OI1->OI"))

_CONVOLUTIONS = WeightMap(
    *(
        Rename(f"{source}.conv.{leaf}", f"{target}.{leaf}", layout)
        for source, target, weight in (
            ("pre_conv", "pre_conv", "OIK->OKI"),
            ("upsample.{n:d}.0", "upsample.{n}.0", "IOK->OKI"),
            ("upsample.{n:d}.1.dwconv", "upsample.{n}.1.dwconv", "OIK->OKI"),
            ("decoder.{n:d}", "decoder.{n}", "OIK->OKI"),
            ("decoder.{n:d}.block.1", "decoder.{n}.block.1", "IOK->OKI"),
            ("decoder.{n:d}.block.{m:d}.{which}", "decoder.{n}.block.{m}.{which}", "OIK->OKI"),
        )
        for leaf, layout in (("weight", weight), ("bias", None))
    ),
)

_ELSE = WeightMap(
    Rename("pre_transformer.{which}put_proj.{leaf}", "pre_transformer.{which}put_proj.{leaf}"),
    Rename("upsample.{n:d}.1.norm.{leaf}", "upsample.{n}.1.norm.{leaf}"),
    Rename("upsample.{n:d}.1.pwconv{m:d}.{leaf}", "upsample.{n}.1.pwconv{m}.{leaf}"),
    Rename("upsample.{n:d}.1.gamma", "upsample.{n}.1.gamma"),
    *(
        Rename(f"{source}.{leaf}", f"{target}.{leaf}")
        for source, target in (
            ("decoder.{n:d}", "decoder.{n}"),
            ("decoder.{n:d}.block.0", "decoder.{n}.block.0"),
            ("decoder.{n:d}.block.{m:d}.act{i:d}", "decoder.{n}.block.{m}.act{i}"),
        )
        for leaf in ("alpha", "beta")
    ),
)

DECODER = (
    _VECTORS.under("quantizer.", "quantizer.")
    + WeightMap(Drop("quantizer.rvq_{which}.input_proj.weight", "for encoding, which this model does by Mimi's"))
    + SCALED_LLAMA.under("pre_transformer.", "pre_transformer.")
    + _CONVOLUTIONS
    + _ELSE
)


def weights(config: CodecConfig) -> WeightMap:
    """The map of both directions."""
    return mimi.weights(config.encoder).under("encoder.", "encoder.") + DECODER.under("decoder.", "decoder.")
