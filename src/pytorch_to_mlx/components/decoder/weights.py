"""Weight maps of the decoder from the names of transformers' LlamaModel (Qwen2Model, Qwen3Model), Mimi and GPT2Model.

None has a rule for the table of token embeddings (`embed_tokens`, `wte`): the decoder takes embeddings, so the map
of the model around it says what becomes of the table.
"""

from __future__ import annotations

from pytorch_to_mlx.weights import Drop, Fuse, Rename, WeightMap

_ATTENTION = WeightMap(
    Fuse(tuple(f"layers.{{n:d}}.self_attn.{x}_proj.{{leaf}}" for x in "qkv"), "layers.{n}.self_attn.qkv_proj.{leaf}"),
    Rename("layers.{n:d}.self_attn.o_proj.{leaf}", "layers.{n}.self_attn.o_proj.{leaf}"),
)
_LAYER_SCALE = WeightMap(
    Rename("layers.{n:d}.{which}_layer_scale.scale", "layers.{n}.{which}_layer_scale.scale"),
)

LLAMA = _ATTENTION + WeightMap(
    Rename("layers.{n:d}.self_attn.{x}_norm.weight", "layers.{n}.self_attn.{x}_norm.weight", optional=True),
    Fuse(
        ("layers.{n:d}.mlp.gate_proj.{leaf}", "layers.{n:d}.mlp.up_proj.{leaf}"), "layers.{n}.mlp.gate_up_proj.{leaf}"
    ),
    Rename("layers.{n:d}.mlp.down_proj.{leaf}", "layers.{n}.mlp.down_proj.{leaf}"),
    Rename("layers.{n:d}.{which}_layernorm.weight", "layers.{n}.{which}_layernorm.weight"),
    Rename("norm.weight", "norm.weight"),
    Drop("layers.{n:d}.self_attn.rotary_emb.inv_freq", "follows from the configuration", optional=True),
)

SCALED_LLAMA = LLAMA + _LAYER_SCALE
"""Where what layers add is scaled, as in the decoder of Qwen3-TTS's codec."""

MIMI = (
    _ATTENTION
    + _LAYER_SCALE
    + WeightMap(
        Rename("layers.{n:d}.mlp.fc1.weight", "layers.{n}.mlp.up_proj.weight"),
        Rename("layers.{n:d}.mlp.fc2.weight", "layers.{n}.mlp.down_proj.weight"),
        Rename("layers.{n:d}.{which}_layernorm.{leaf}", "layers.{n}.{which}_layernorm.{leaf}"),
    )
)


def _conv1d(source: str, target: str) -> WeightMap:
    """GPT-2's linear layers keep their weight as (in, out)."""
    return WeightMap(
        Rename(f"h.{{n:d}}.{source}.weight", f"layers.{{n}}.{target}.weight", layout="IO->OI"),
        Rename(f"h.{{n:d}}.{source}.bias", f"layers.{{n}}.{target}.bias"),
    )


GPT2 = (
    WeightMap(
        Rename("wpe.weight", "wpe.weight"),
        Rename("h.{n:d}.ln_1.{leaf}", "layers.{n}.input_layernorm.{leaf}"),
        Rename("h.{n:d}.ln_2.{leaf}", "layers.{n}.post_attention_layernorm.{leaf}"),
        Rename("ln_f.{leaf}", "norm.{leaf}"),
        Drop("h.{n:d}.attn.bias", "the causal mask", optional=True),
        Drop("h.{n:d}.attn.masked_bias", "what masked scores were set to", optional=True),
    )
    + _conv1d("attn.c_attn", "self_attn.qkv_proj")
    + _conv1d("attn.c_proj", "self_attn.o_proj")
    + _conv1d("mlp.c_fc", "mlp.up_proj")
    + _conv1d("mlp.c_proj", "mlp.down_proj")
)
