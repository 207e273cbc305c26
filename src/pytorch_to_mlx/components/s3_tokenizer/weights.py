"""What becomes of upstream's tensors: the state dicts of s3tokenizer's S3Tokenizer and S3TokenizerV2."""

from __future__ import annotations

from pytorch_to_mlx.weights import Drop, Rename, WeightMap

_ENCODER = WeightMap(
    Rename("encoder.conv{n:d}.weight", "encoder.conv{n}.weight", "OIK->OKI"),
    Rename("encoder.conv{n:d}.bias", "encoder.conv{n}.bias"),
    Rename("encoder.blocks.{n:d}.attn.query.{leaf}", "encoder.blocks.{n}.attn.query.{leaf}"),
    Rename("encoder.blocks.{n:d}.attn.key.weight", "encoder.blocks.{n}.attn.key.weight"),
    Rename("encoder.blocks.{n:d}.attn.value.{leaf}", "encoder.blocks.{n}.attn.value.{leaf}"),
    Rename("encoder.blocks.{n:d}.attn.out.{leaf}", "encoder.blocks.{n}.attn.out.{leaf}"),
    Rename("encoder.blocks.{n:d}.attn_ln.{leaf}", "encoder.blocks.{n}.attn_ln.{leaf}"),
    Rename("encoder.blocks.{n:d}.mlp.0.{leaf}", "encoder.blocks.{n}.mlp.layers.0.{leaf}"),
    Rename("encoder.blocks.{n:d}.mlp.2.{leaf}", "encoder.blocks.{n}.mlp.layers.1.{leaf}"),
    Rename("encoder.blocks.{n:d}.mlp_ln.{leaf}", "encoder.blocks.{n}.mlp_ln.{leaf}"),
)

V1 = _ENCODER + WeightMap(
    Rename("encoder.positional_embedding", "encoder.positional_embedding"),
    Rename("quantizer._codebook.embed", "quantizer.codebook.embed"),
)

# Chatterbox keeps two constants of its front end in the file; upstream takes files without either.
V2 = _ENCODER + WeightMap(
    Rename("encoder.blocks.{n:d}.attn.fsmn_block.weight", "encoder.blocks.{n}.attn.fsmn_block.weight", "OIK->OKI"),
    Rename("quantizer._codebook.project_down.{leaf}", "quantizer.codebook.project_down.{leaf}"),
    Drop("_mel_filters", "mel filters, which are computed", optional=True),
    Drop("window", "a Hann window, which is computed", optional=True),
)
