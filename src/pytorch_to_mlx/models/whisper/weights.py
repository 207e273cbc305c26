"""Weight maps of Whisper: from OpenAI's names, and from transformers'."""

from __future__ import annotations

from dataclasses import dataclass

from pytorch_to_mlx.weights import Fuse, Rename, Rule, Tied, WeightMap

QUERY, KEY, VALUE, OUTPUT = range(4)


@dataclass(frozen=True)
class Names:
    """What a layout calls the parts of its blocks.

    Attributes:
        encoder, decoder: a block.
        attention, cross: query, key, value and output; `cross` attends to the encoder.
        norms: before `attention`, before `cross` and before `mlp`.
        mlp: the two layers.
    """

    encoder: str
    decoder: str
    attention: tuple[str, str, str, str]
    cross: tuple[str, str, str, str]
    norms: tuple[str, str, str]
    mlp: tuple[str, str]


def _blocks(names: Names) -> list[Rule]:
    """Keys have no bias; where they are joined with what has one, theirs is zero."""
    own, cross, (first, second, last) = names.attention, names.cross, names.norms
    encoder = {
        **dict(zip(own, ("attn.query", "attn.key", "attn.value", "attn.out"), strict=True)),
        first: "attn_ln",
        last: "mlp_ln",
        names.mlp[0]: "mlp.layers.0",
        names.mlp[1]: "mlp.layers.1",
    }
    decoder = {
        own[OUTPUT]: "self_attn.o_proj",
        cross[QUERY]: "cross_attn.q_proj",
        cross[OUTPUT]: "cross_attn.o_proj",
        first: "input_layernorm",
        second: "cross_attn_layernorm",
        last: "post_attention_layernorm",
        names.mlp[0]: "mlp.up_proj",
        names.mlp[1]: "mlp.down_proj",
    }
    block, layer = names.decoder, "decoder.layers.{n}"
    return [
        *(Rename(f"{names.encoder}.{a}.{{leaf}}", f"encoder.blocks.{{n}}.{b}.{{leaf}}") for a, b in encoder.items()),
        *(Rename(f"{block}.{a}.{{leaf}}", f"{layer}.{b}.{{leaf}}") for a, b in decoder.items()),
        Fuse(tuple(f"{block}.{each}.weight" for each in own[:OUTPUT]), f"{layer}.self_attn.qkv_proj.weight"),
        Fuse(
            (f"{block}.{own[QUERY]}.bias", f"{block}.{own[VALUE]}.bias"), f"{layer}.self_attn.qkv_proj.bias", zeros=(1,)
        ),
        Fuse((f"{block}.{cross[KEY]}.weight", f"{block}.{cross[VALUE]}.weight"), f"{layer}.cross_attn.kv_proj.weight"),
        Fuse((f"{block}.{cross[VALUE]}.bias",), f"{layer}.cross_attn.kv_proj.bias", zeros=(0,)),
    ]


def _convolutions(source: str) -> list[Rule]:
    return [
        Rename(f"{source}conv{{i:d}}.weight", "encoder.conv{i}.weight", "OIK->OKI"),
        Rename(f"{source}conv{{i:d}}.bias", "encoder.conv{i}.bias"),
    ]


OPENAI = WeightMap(
    *_convolutions("encoder."),
    *_blocks(
        Names(
            "encoder.blocks.{n:d}",
            "decoder.blocks.{n:d}",
            ("attn.query", "attn.key", "attn.value", "attn.out"),
            ("cross_attn.query", "cross_attn.key", "cross_attn.value", "cross_attn.out"),
            ("attn_ln", "cross_attn_ln", "mlp_ln"),
            ("mlp.0", "mlp.2"),
        )
    ),
    Rename("encoder.positional_embedding", "encoder.positional_embedding"),
    Rename("encoder.ln_post.{leaf}", "encoder.ln_post.{leaf}"),
    Rename("decoder.token_embedding.weight", "decoder.token_embedding.weight"),
    Rename("decoder.positional_embedding", "decoder.wpe.weight"),
    Rename("decoder.ln.{leaf}", "decoder.norm.{leaf}"),
)

TRANSFORMERS = WeightMap(
    *_convolutions("encoder."),
    *_blocks(
        Names(
            "encoder.layers.{n:d}",
            "decoder.layers.{n:d}",
            ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"),
            ("encoder_attn.q_proj", "encoder_attn.k_proj", "encoder_attn.v_proj", "encoder_attn.out_proj"),
            ("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"),
            ("fc1", "fc2"),
        )
    ),
    Rename("encoder.embed_positions.weight", "encoder.positional_embedding"),
    Rename("encoder.layer_norm.{leaf}", "encoder.ln_post.{leaf}"),
    Rename("decoder.embed_tokens.weight", "decoder.token_embedding.weight"),
    Rename("decoder.embed_positions.weight", "decoder.wpe.weight"),
    Rename("decoder.layer_norm.{leaf}", "decoder.norm.{leaf}"),
).under("model.", "") + WeightMap(Tied("proj_out.weight", to="model.decoder.embed_tokens.weight"))
