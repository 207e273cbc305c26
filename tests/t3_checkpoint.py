"""Seeded checkpoints of T3 for tests: the shapes of upstream's state dicts, and the reduced network of the goldens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
from small_ports import SEED

from pytorch_to_mlx.models.chatterbox.t3.config import ENGLISH, MULTILINGUAL, TURBO, T3Config
from pytorch_to_mlx.models.chatterbox.t3.network import T3
from pytorch_to_mlx.models.chatterbox.t3.weights import weights
from pytorch_to_mlx.port import parameter_shapes

Shapes = dict[str, tuple[int, ...]]

CONFIGS = {"english": ENGLISH, "multilingual": MULTILINGUAL, "turbo": TURBO}
SPEAKER = 256
UNUSED_ROWS = 8  # of the Llama's own table of embeddings


def small_config(variant: str) -> T3Config:
    """What references/_t3.py calls `small_network`."""
    config = CONFIGS[variant]
    layers = 14 if config.multilingual else 2
    backbone = replace(config.backbone, num_layers=layers, hidden_size=256, intermediate_size=256, head_dim=16)
    return replace(config, backbone=backbone, text_vocabulary=704 if config.turbo else config.text_vocabulary)


def t3_shapes(config: T3Config) -> Shapes:
    """Upstream's state dict."""
    size = config.backbone.hidden_size
    shapes: Shapes = {
        "cond_enc.spkr_enc.weight": (size, SPEAKER),
        "cond_enc.spkr_enc.bias": (size,),
        "text_emb.weight": (config.text_vocabulary, size),
        "speech_emb.weight": (config.speech_vocabulary, size),
        "text_head.weight": (config.text_vocabulary, size),
        "speech_head.weight": (config.speech_vocabulary, size),
    }
    return shapes | (_turbo(config) if config.turbo else _llama(config))


def _llama(config: T3Config) -> Shapes:
    size, wide = config.backbone.hidden_size, config.backbone.intermediate_size
    shapes: Shapes = {
        "cond_enc.emotion_adv_fc.weight": (size, 1),
        "cond_enc.perceiver.pre_attention_query": (1, 32, size),
        "text_pos_emb.emb.weight": (2050, size),
        "speech_pos_emb.emb.weight": (4100, size),
        "tfmr.embed_tokens.weight": (UNUSED_ROWS, size),
        "tfmr.norm.weight": (size,),
    }
    for name in ("to_q", "to_k", "to_v", "proj_out"):
        shapes |= {f"cond_enc.perceiver.attn.{name}.weight": (size, size)}
        shapes |= {f"cond_enc.perceiver.attn.{name}.bias": (size,)}
    shapes |= {f"cond_enc.perceiver.attn.norm.{leaf}": (size,) for leaf in ("weight", "bias")}
    layer = {f"self_attn.{x}_proj": (size, size) for x in "qkvo"}
    layer |= {"mlp.gate_proj": (wide, size), "mlp.up_proj": (wide, size), "mlp.down_proj": (size, wide)}
    layer |= {"input_layernorm": (size,), "post_attention_layernorm": (size,)}
    for index in range(config.backbone.num_layers):
        shapes |= {f"tfmr.layers.{index}.{name}.weight": shape for name, shape in layer.items()}
    return shapes


def _turbo(config: T3Config) -> Shapes:
    size, wide = config.backbone.hidden_size, config.backbone.intermediate_size
    shapes: Shapes = {
        "speech_head.bias": (config.speech_vocabulary,),
        "tfmr.wte.weight": (UNUSED_ROWS if size < 1024 else 50276, size),
        "tfmr.wpe.weight": (8196, size),
        "tfmr.ln_f.weight": (size,),
        "tfmr.ln_f.bias": (size,),
    }
    layer = {"attn.c_attn": (size, 3 * size), "attn.c_proj": (size, size)}  # (in, out)
    layer |= {"mlp.c_fc": (size, wide), "mlp.c_proj": (wide, size), "ln_1": (size,), "ln_2": (size,)}
    for index in range(config.backbone.num_layers):
        shapes |= {f"tfmr.h.{index}.{name}.weight": shape for name, shape in layer.items()}
        shapes |= {f"tfmr.h.{index}.{name}.bias": shape[-1:] for name, shape in layer.items()}
    return shapes


class Tensors(dict[str, np.ndarray]):
    """A checkpoint in memory."""

    def info(self, name: str) -> Any:
        return SimpleNamespace(shape=self[name].shape, dtype="float32")

    def read(self, name: str) -> np.ndarray:
        return self[name]


def seeded_t3(variant: str, seed: int = 0) -> T3:
    """Our network with the weights of the small golden."""
    config = small_config(variant)
    return loaded_t3(config, SEED.t3_weights(t3_shapes(config), seed))


def loaded_t3(config: T3Config, state: Mapping[str, np.ndarray]) -> T3:
    network, tensors = T3(config), Tensors(state)
    plan = weights(config).plan(tensors, parameter_shapes(network))
    network.load_weights([(name, mx.array(array)) for name, array in plan.apply(tensors)])
    return network
