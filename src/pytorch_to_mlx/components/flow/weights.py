"""How upstream's state dict of the flow becomes parameters: 1121 tensors, 1122 for meanflow."""

from __future__ import annotations

from pytorch_to_mlx.weights import Drop, Fuse, Rename, Rule, WeightMap

_CONVOLUTION = "OIK->OKI"
_POINTWISE = "OI1->OI"  # a convolution of one step is a linear layer


def weights(meanflow: bool) -> WeightMap:
    """The map of the flow's state dict, without prefixes."""
    estimator = [
        *_leaves("time_mlp.linear_{n:d}", "time_mlp.linear_{n:d}"),
        *_block("down_blocks.0", "down_block"),
        *_convolution("down_blocks.0.2", "down_conv"),
        *_block("mid_blocks.{i:d}", "mid_blocks.{i}"),
        *_block("up_blocks.0", "up_block"),
        *_convolution("up_blocks.0.2", "up_conv"),
        *_causal_block("final_block", "final_block"),
        *_convolution("final_proj", "final_proj", _POINTWISE),
    ]
    if meanflow:
        estimator.append(Rename("time_embed_mixer.weight", "time_embed_mixer.weight"))
    return _ENCODER + WeightMap(*estimator).under("decoder.estimator.", "decoder.estimator.")


def _leaves(source: str, target: str) -> list[Rule]:
    return [Rename(f"{source}.{leaf}", f"{target}.{leaf}") for leaf in ("weight", "bias")]


def _convolution(source: str, target: str, layout: str = _CONVOLUTION) -> list[Rule]:
    return [Rename(f"{source}.weight", f"{target}.weight", layout), Rename(f"{source}.bias", f"{target}.bias")]


def _causal_block(source: str, target: str) -> list[Rule]:
    return [
        *_convolution(f"{source}.block.0", f"{target}.conv"),
        *_leaves(f"{source}.block.2", f"{target}.norm"),
    ]


def _block(source: str, target: str) -> list[Rule]:
    resnet, transformer = f"{source}.0", f"{source}.1.{{j:d}}"
    ours = f"{target}.transformers.{{j}}"
    return [
        *_leaves(f"{resnet}.mlp.1", f"{target}.resnet.mlp"),
        *_causal_block(f"{resnet}.block1", f"{target}.resnet.block1"),
        *_causal_block(f"{resnet}.block2", f"{target}.resnet.block2"),
        *_convolution(f"{resnet}.res_conv", f"{target}.resnet.res_conv", _POINTWISE),
        *_leaves(f"{transformer}.norm1", f"{ours}.norm1"),
        *_leaves(f"{transformer}.norm3", f"{ours}.norm3"),
        Fuse(tuple(f"{transformer}.attn1.to_{each}.weight" for each in "qkv"), f"{ours}.attn1.to_qkv.weight"),
        *_leaves(f"{transformer}.attn1.to_out.0", f"{ours}.attn1.to_out"),
        *_leaves(f"{transformer}.ff.net.0.proj", f"{ours}.ff.expand"),
        *_leaves(f"{transformer}.ff.net.2", f"{ours}.ff.project"),
    ]


def _layer(path: str) -> list[Rule]:
    attention = f"{path}.self_attn"
    return [
        *_leaves(f"{path}.norm_{{which}}", f"{path}.norm_{{which}}"),
        *_leaves(f"{path}.feed_forward.w_{{i:d}}", f"{path}.feed_forward.w_{{i:d}}"),
        Rename(f"{attention}.linear_{{which}}.weight", f"{attention}.linear_{{which}}.weight"),
        *(Rename(f"{attention}.linear_{name}.bias", f"{attention}.linear_{name}.bias") for name in ("q", "v", "out")),
        Rename(f"{attention}.pos_bias_{{which}}", f"{attention}.pos_bias_{{which}}"),
        Drop(f"{attention}.linear_k.bias", "adds the same to all scores of a query, which softmax ignores"),
    ]


AROUND_ESTIMATOR = WeightMap(
    Rename("input_embedding.weight", "input_embedding.weight"),
    *_leaves("spk_embed_affine_layer", "spk_embed_affine_layer"),
    *_layer("encoder.encoders.{n:d}"),
    *_layer("encoder.up_encoders.{n:d}"),
    *_leaves("encoder.after_norm", "encoder.after_norm"),
    *_leaves("encoder_proj", "encoder_proj"),
)
"""What other conversions call as upstream does: all but the estimator, the encoder's embeddings and convolutions."""

_ENCODER = AROUND_ESTIMATOR + WeightMap(
    *(
        rule
        for name in ("embed", "up_embed")
        for rule in (
            *_leaves(f"encoder.{name}.out.0", f"encoder.{name}.linear"),
            *_leaves(f"encoder.{name}.out.1", f"encoder.{name}.norm"),
        )
    ),
    *_convolution("encoder.pre_lookahead_layer.conv{n:d}", "encoder.pre_lookahead_layer.conv{n}"),
    *_convolution("encoder.up_layer.conv", "encoder.up_layer.conv"),
)
