"""What transformers calls Whisper's tensors: loaded by path by the reference and by tests."""

import re

NAMES = {
    "blocks": "layers",
    "cross_attn.query": "encoder_attn.q_proj",
    "cross_attn.key": "encoder_attn.k_proj",
    "cross_attn.value": "encoder_attn.v_proj",
    "cross_attn.out": "encoder_attn.out_proj",
    "cross_attn_ln": "encoder_attn_layer_norm",
    "attn.query": "self_attn.q_proj",
    "attn.key": "self_attn.k_proj",
    "attn.value": "self_attn.v_proj",
    "attn.out": "self_attn.out_proj",
    "attn_ln": "self_attn_layer_norm",
    "mlp.0": "fc1",
    "mlp.2": "fc2",
    "mlp_ln": "final_layer_norm",
    "ln_post": "layer_norm",
    "decoder.ln.": "decoder.layer_norm.",
    "token_embedding": "embed_tokens",
    "positional_embedding": "embed_positions.weight",
}
"""Theirs, by OpenAI's."""
_LONGEST_FIRST = re.compile("|".join(map(re.escape, sorted(NAMES, key=len, reverse=True))))


def renamed(name: str) -> str:
    """transformers' name of OpenAI's tensor."""
    return f"model.{_LONGEST_FIRST.sub(lambda found: NAMES[found[0]], name)}"
