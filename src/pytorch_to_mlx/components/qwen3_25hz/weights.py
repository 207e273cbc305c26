"""Weight map from the names of Qwen3TTSTokenizerV1Model: 1333 tensors at upstream's default sizes."""

from __future__ import annotations

from pytorch_to_mlx.components import ecapa
from pytorch_to_mlx.components.qwen3_25hz.config import LAYERS, MOST_LAYERS
from pytorch_to_mlx.components.s3_tokenizer.weights import CONVOLUTIONS, block
from pytorch_to_mlx.weights import Drop, Rename, WeightMap

_AFTER = "follows the codebook, of no use for codes"


def _pair(source: str, target: str, layout: str | None = None) -> tuple[Rename, Rename]:
    return Rename(f"{source}.weight", f"{target}.weight", layout), Rename(f"{source}.bias", f"{target}.bias")


ENCODER = WeightMap(
    *CONVOLUTIONS.rules,
    Rename("positional_embedding", "positional_embedding"),
    *(rule for n in range(LAYERS) for rule in block(f"blocks.{n}", f"blocks.{n}").rules),
    *(Drop(f"blocks.{n}.{{p*}}", _AFTER, count=15, optional=True) for n in range(LAYERS, MOST_LAYERS)),
    *_pair("audio_vq_downsample", "audio_vq_downsample", "OIK->OKI"),
    Rename("audio_quantizer.rvqs.0.embed", "audio_quantizer.embed", "1ND->ND"),
    Drop("audio_quantizer.rvqs.0.embed_avg", "training's running sums of vectors", count=1),
    Drop("audio_quantizer.rvqs.0.cluster_size", "training's counts of vectors", count=1),
    Drop("audio_quantizer.rvqs.0.inited", "says that the codebook was begun", count=1),
    Drop("project_after_vq_pe.{leaf}", _AFTER, optional=True),
    Drop("audio_vq_upsample.{leaf}", _AFTER, count=2),
    Drop("ln_post.{leaf}", _AFTER, count=2),
    Drop("proj.{leaf}", _AFTER, count=2),
    Drop("audio_bos_eos_token.weight", _AFTER, count=1),
)


_BLOCK = "transformer_blocks.{n:d}"
_OURS = "transformer_blocks.{n}"

DIT = WeightMap(
    *_pair("time_embed.time_mlp.0", "time_embed.time_mlp.0"),
    *_pair("time_embed.time_mlp.2", "time_embed.time_mlp.1"),
    Rename("text_embed.codec_embed.weight", "text_embed.codec_embed.weight"),
    *_pair("input_embed.proj", "input_embed.proj"),
    Rename("rotary_embed.inv_freq", "rotary_embed.inv_freq"),
    *_pair(f"{_BLOCK}.attn_norm.linear", f"{_OURS}.attn_norm.linear"),
    Rename(f"{_BLOCK}.attn.to_{{which}}.{{leaf}}", f"{_OURS}.attn.to_{{which}}.{{leaf}}"),
    *_pair(f"{_BLOCK}.attn.to_out.0", f"{_OURS}.attn.to_out.0"),
    *_pair(f"{_BLOCK}.ff.ff.0", f"{_OURS}.ff.ff.0"),
    *_pair(f"{_BLOCK}.ff.ff.3", f"{_OURS}.ff.ff.1"),
    *_pair("norm_out.linear", "norm_out.linear"),
    *_pair("proj_out", "proj_out"),
) + ecapa.WEIGHTS.under("input_embed.spk_encoder.", "input_embed.spk_encoder.")

_RESBLOCK = "resblocks.{n:d}"
_RESBLOCK_OURS = "resblocks.{n}"

VOCODER = WeightMap(
    *_pair("conv_pre", "conv_pre", "OIK->OKI"),
    *_pair("ups.{n:d}.0", "ups.{n}.0", "IOK->OKI"),
    *_pair(f"{_RESBLOCK}.convs{{i:d}}.{{m:d}}", f"{_RESBLOCK_OURS}.convs{{i}}.{{m}}", "OIK->OKI"),
    *_pair(f"{_RESBLOCK}.pre_conv", f"{_RESBLOCK_OURS}.pre_conv", "OIK->OKI"),
    *(
        Rename(f"{source}.act.{leaf}", f"{target}.act.{leaf}")
        for source, target in (
            (f"{_RESBLOCK}.activations.{{m:d}}", f"{_RESBLOCK_OURS}.activations.{{m}}"),
            (f"{_RESBLOCK}.pre_act", f"{_RESBLOCK_OURS}.pre_act"),
            ("activation_post", "activation_post"),
        )
        for leaf in ("alpha", "beta")
    ),
    Rename("conv_post.weight", "conv_post.weight", "OIK->OKI"),
)


WEIGHTS = (
    ENCODER.under("encoder.tokenizer.", "encoder.tokenizer.")
    + DIT.under("decoder.dit.", "decoder.dit.")
    + VOCODER.under("decoder.bigvgan.", "decoder.bigvgan.")
)
