"""Names and shapes of upstream's state dicts of Chatterbox's networks, and our networks with weights drawn for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from held import loaded
from small_ports import SEED

from pytorch_to_mlx.components.campplus import WEIGHTS as CAMPPLUS_WEIGHTS
from pytorch_to_mlx.components.campplus import CAMPPlus
from pytorch_to_mlx.components.flow import Flow, FlowConfig
from pytorch_to_mlx.components.flow import weights as flow_weights
from pytorch_to_mlx.components.hift import WEIGHTS as HIFT_WEIGHTS
from pytorch_to_mlx.components.hift import HiFT
from pytorch_to_mlx.models.chatterbox.t3.config import ENGLISH, MULTILINGUAL, TURBO, T3Config
from pytorch_to_mlx.models.chatterbox.t3.network import T3
from pytorch_to_mlx.models.chatterbox.t3.weights import weights as t3_weights
from pytorch_to_mlx.port import parameter_shapes

Shapes = dict[str, tuple[int, ...]]

CONFIGS = {"english": ENGLISH, "multilingual": MULTILINGUAL, "turbo": TURBO}
SPEAKER = 256
UNUSED_ROWS = 8  # of the Llama's own table of embeddings


def seeded_campplus() -> CAMPPlus:
    return loaded(CAMPPlus(), CAMPPLUS_WEIGHTS, SEED.campplus_weights(campplus()))


def seeded_flow(meanflow: bool) -> Flow:
    return loaded(Flow(FlowConfig(meanflow)), flow_weights(meanflow), SEED.flow_weights(flow(meanflow)))


def seeded_hift() -> HiFT:
    return loaded(HiFT(), HIFT_WEIGHTS, SEED.hift_weights(hift()))


def seeded_t3(variant: str, seed: int = 0) -> T3:
    """The reduced network of small recordings."""
    config = small_config(variant)
    return loaded_t3(config, SEED.t3_weights(t3(config), seed))


def loaded_t3(config: T3Config, state: Mapping[str, np.ndarray]) -> T3:
    return loaded(T3(config), t3_weights(config), state)


def campplus() -> Shapes:
    """937 tensors, from our network: pointwise convolutions have an axis more, norms a counter."""
    shapes: Shapes = {}
    for name, shape in parameter_shapes(CAMPPlus()).items():
        if len(shape) == 4:
            shape = (shape[0], shape[3], shape[1], shape[2])
        elif len(shape) == 3:
            shape = (shape[0], shape[2], shape[1])
        elif len(shape) == 2:
            shape = (*shape, 1)
        shapes[name] = shape
        if name.endswith("running_var"):
            shapes[name.replace("running_var", "num_batches_tracked")] = ()
    return shapes


def flow(meanflow: bool) -> Shapes:
    """1121 tensors, of meanflow 1122."""
    shapes: Shapes = {"input_embedding.weight": (6561, 512)}

    def layer(path: str, *shape: int, bias: bool = True) -> None:
        shapes[f"{path}.weight"] = shape
        if bias:
            shapes[f"{path}.bias"] = shape[:1]

    def norm(path: str, size: int) -> None:
        layer(path, size)

    layer("spk_embed_affine_layer", 80, 192)
    for name in ("embed", "up_embed"):
        layer(f"encoder.{name}.out.0", 512, 512)
        norm(f"encoder.{name}.out.1", 512)
    norm("encoder.after_norm", 512)
    layer("encoder.pre_lookahead_layer.conv1", 512, 512, 4)
    layer("encoder.pre_lookahead_layer.conv2", 512, 512, 3)
    layer("encoder.up_layer.conv", 512, 512, 5)
    for path in [*(f"encoder.encoders.{i}" for i in range(6)), *(f"encoder.up_encoders.{i}" for i in range(4))]:
        shapes |= {f"{path}.self_attn.pos_bias_{name}": (8, 64) for name in "uv"}
        for name in ("q", "k", "v", "out"):
            layer(f"{path}.self_attn.linear_{name}", 512, 512)
        layer(f"{path}.self_attn.linear_pos", 512, 512, bias=False)
        layer(f"{path}.feed_forward.w_1", 2048, 512)
        layer(f"{path}.feed_forward.w_2", 512, 2048)
        norm(f"{path}.norm_ff", 512)
        norm(f"{path}.norm_mha", 512)
    layer("encoder_proj", 80, 512)

    estimator = "decoder.estimator"
    layer(f"{estimator}.time_mlp.linear_1", 1024, 320)
    layer(f"{estimator}.time_mlp.linear_2", 1024, 1024)
    blocks = {"down_blocks.0": 320, **{f"mid_blocks.{i}": 256 for i in range(12)}, "up_blocks.0": 512}
    for block, size in blocks.items():
        resnet = f"{estimator}.{block}.0"
        layer(f"{resnet}.mlp.1", 256, 1024)
        for i, inputs in ((1, size), (2, 256)):
            layer(f"{resnet}.block{i}.block.0", 256, inputs, 3)
            norm(f"{resnet}.block{i}.block.2", 256)
        layer(f"{resnet}.res_conv", 256, size, 1)
        for transformer in (f"{estimator}.{block}.1.{i}" for i in range(4)):
            norm(f"{transformer}.norm1", 256)
            norm(f"{transformer}.norm3", 256)
            for name in "qkv":
                layer(f"{transformer}.attn1.to_{name}", 512, 256, bias=False)
            layer(f"{transformer}.attn1.to_out.0", 256, 512)
            layer(f"{transformer}.ff.net.0.proj", 1024, 256)
            layer(f"{transformer}.ff.net.2", 256, 1024)
    for conv in ("down_blocks.0.2", "up_blocks.0.2", "final_block.block.0"):
        layer(f"{estimator}.{conv}", 256, 256, 3)
    norm(f"{estimator}.final_block.block.2", 256)
    layer(f"{estimator}.final_proj", 80, 256, 1)
    if meanflow:
        layer(f"{estimator}.time_embed_mixer", 1024, 2048, bias=False)
    return shapes


def hift() -> Shapes:
    """328 tensors."""
    shapes: Shapes = {}

    def normed(name: str, shape: tuple[int, ...], outputs: int) -> None:
        shapes[f"{name}.parametrizations.weight.original0"] = (shape[0], 1, 1)
        shapes[f"{name}.parametrizations.weight.original1"] = shape
        shapes[f"{name}.bias"] = (outputs,)

    def block(name: str, channels: int, kernel: int) -> None:
        for half in (1, 2):
            for i in range(3):
                normed(f"{name}.convs{half}.{i}", (channels, channels, kernel), channels)
                shapes[f"{name}.activations{half}.{i}.alpha"] = (channels,)

    for i in range(5):
        normed(f"f0_predictor.condnet.{2 * i}", (512, 512 if i else 80, 3), 512)
    shapes |= {"f0_predictor.classifier.weight": (1, 512), "f0_predictor.classifier.bias": (1,)}
    shapes |= {"m_source.l_linear.weight": (1, 9), "m_source.l_linear.bias": (1,)}
    normed("conv_pre", (512, 80, 7), 512)
    for i, (up, down, source_kernel) in enumerate(((16, 30, 7), (11, 6, 7), (7, 1, 11))):
        channels = 256 >> i
        normed(f"ups.{i}", (2 * channels, channels, up), channels)
        shapes |= {f"source_downs.{i}.weight": (channels, 18, down), f"source_downs.{i}.bias": (channels,)}
        block(f"source_resblocks.{i}", channels, source_kernel)
        for j, kernel in enumerate((3, 7, 11)):
            block(f"resblocks.{3 * i + j}", channels, kernel)
    normed("conv_post", (18, 64, 7), 18)
    return shapes


def small_config(variant: str) -> T3Config:
    """What references/_t3.py calls `small_network`."""
    config = CONFIGS[variant]
    layers = 14 if config.multilingual else 2
    backbone = replace(config.backbone, num_layers=layers, hidden_size=256, intermediate_size=256, head_dim=16)
    return replace(config, backbone=backbone, text_vocabulary=704 if config.turbo else config.text_vocabulary)


def t3(config: T3Config) -> Shapes:
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
