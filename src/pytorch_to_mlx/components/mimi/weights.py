"""Weight map from the names of transformers' MimiModel, its decoder left out."""

from __future__ import annotations

from pytorch_to_mlx.components.decoder import MIMI
from pytorch_to_mlx.components.mimi.network import MimiEncoderConfig
from pytorch_to_mlx.components.mimi.quantizer import codebook_weights
from pytorch_to_mlx.weights import Drop, Rename, WeightMap

CODEBOOKS = 32  # of every published Mimi
BEYOND = "of a codebook beyond those that are used"


def weights(config: MimiEncoderConfig) -> WeightMap:
    """The map of an encoder that uses the first of the codebooks."""
    semantic = config.semantic_quantizers
    return (
        WeightMap(
            Rename("encoder.layers.{n:d}.conv.weight", "encoder.layers.{n}.weight", "OIK->OKI"),
            Rename("encoder.layers.{n:d}.conv.bias", "encoder.layers.{n}.bias"),
            Rename("encoder.layers.{n:d}.block.{m:d}.conv.weight", "encoder.layers.{n}.block.{m}.weight", "OIK->OKI"),
            Rename("encoder.layers.{n:d}.block.{m:d}.conv.bias", "encoder.layers.{n}.block.{m}.bias"),
            Rename("downsample.conv.weight", "downsample.weight", "OIK->OKI"),
        )
        + MIMI.under("encoder_transformer.", "encoder_transformer.")
        + _quantizer("semantic", semantic, semantic)
        + _quantizer("acoustic", config.quantizers - semantic, CODEBOOKS - semantic)
    )


def _quantizer(which: str, used: int, there: int) -> WeightMap:
    path = f"quantizer.{which}_residual_vector_quantizer."
    rules = WeightMap(
        Rename("input_proj.weight", "input_proj.weight", "OI1->OI"),
        Drop("output_proj.weight", "for decoding, which this model does by other codebooks"),
        Drop("layers.{n:d}.codebook.initialized", "whether training has begun"),
    )
    for n in range(there):
        codebook = f"layers.{n}.codebook."
        if n < used:
            rules += codebook_weights(f"{codebook}embed_sum", f"{codebook}cluster_usage", f"layers.{n}")
        else:
            rules += WeightMap(Drop(f"{codebook}embed_sum", BEYOND), Drop(f"{codebook}cluster_usage", BEYOND))
    return rules.under(path, path)
