"""English Chatterbox as mlx-audio-plus 0.1.0 converted it (mlx-community/Chatterbox-TTS-fp16), imported.

Such a folder has one model.safetensors under the prefixes `ve.`, `t3.`, `s3gen.` and `s3_tokenizer.`: MLX's layouts and
folded weight norms already, under other names. That converter (tts/models/chatterbox/scripts/convert_chatterbox.py)
writes 13 + 292 + 2126 + 102 = 2533 tensors. A file of all of its `model.parameters()` has 293 of T3 and 2131 of S3Gen:
six more, which are unused or computed. (Its documents tell the 2533 as 13 + 293 + 2131 + 96, which mixes the two.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pytorch_to_mlx.components.campplus.network import BLOCKS
from pytorch_to_mlx.components.decoder import LLAMA
from pytorch_to_mlx.components.flow.weights import AROUND_ESTIMATOR
from pytorch_to_mlx.models.chatterbox.t3.weights import AROUND_LLAMA, UNUSED_TABLE
from pytorch_to_mlx.weights import Drop, Fuse, Rename, Rule, Shape, WeightMap

SIGNATURE = {
    "t3.text_emb.weight": (704, 1024),
    "t3.tfmr.model.norm.weight": (1024,),
    "s3gen.flow.encoder_proj.weight": (80, 512),
    "s3_tokenizer.encoder.conv1.weight": (1280, 3, 128),
}
REFUSED = {
    "t3.tfmr.model.layers.0.self_attn.q_proj.scales": (
        "was quantized by another program; import the unquantized folder, or convert ResembleAI/chatterbox, "
        "and quantize with -q"
    )
}
NOTICE = (
    "The converter that wrote the imported folder lost 56 biases of the speech decoder's attention. They are zero "
    "here, so parity with upstream cannot hold; convert ResembleAI/chatterbox for that."
)
LOST = "rename; its bias, which the converter of this folder lost, becomes zero"

_POINTWISE = "O1I->OI"  # a convolution of one step is a linear layer


@dataclass(frozen=True)
class LostBias(Rule):
    """The weight of the linear layer `source` goes to `target`, which gets a bias of zeros beside it."""

    source: str
    target: str

    @property
    def forms(self) -> tuple[tuple[str, ...], ...]:
        return ((f"{self.source}.weight",),)

    @property
    def outputs(self) -> tuple[str, ...]:
        return (f"{self.target}.weight", f"{self.target}.bias")

    def shapes(self, shapes: list[Shape]) -> list[Shape]:
        return [shapes[0], shapes[0][:1]]

    def compute(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        return [arrays[0], np.zeros(arrays[0].shape[:1], arrays[0].dtype)]

    @property
    def action(self) -> str:
        return LOST


def _same(*names: str) -> list[Rule]:
    return [Rename(name, name.replace(":d", "")) for name in names]


def _linear(source: str, target: str, layout: str | None = None) -> list[Rule]:
    return [Rename(f"{source}.weight", f"{target}.weight", layout), Rename(f"{source}.bias", f"{target}.bias")]


def _speaker_encoder() -> WeightMap:
    rules = [
        *_same("head.{module}.{leaf}", "head.layer{layer:d}.{block:d}.{module}.{leaf}"),
        *_same("head.layer{layer:d}.{block:d}.shortcut.{n:d}.{leaf}"),
        Rename("tdnn.linear.weight", "xvector.tdnn.linear.weight"),
        Rename("dense.linear.weight", "xvector.dense.linear.weight", _POINTWISE),
    ]
    rules += [
        Rename(f"{module}.0.{{leaf}}", f"xvector.{module}.batchnorm.{{leaf}}")
        for module in ("tdnn.nonlinear", "out_nonlinear", "dense.nonlinear")
    ]
    # They count from 0, upstream and we from 1.
    for b, (layers, _) in enumerate(BLOCKS):
        transit, ours = f"transits.{b}", f"xvector.transit{b + 1}"
        rules.append(Rename(f"{transit}.nonlinear.0.{{leaf}}", f"{ours}.nonlinear.batchnorm.{{leaf}}"))
        rules.append(Rename(f"{transit}.linear.weight", f"{ours}.linear.weight", _POINTWISE))
        for n in range(layers):
            layer, ours = f"blocks.{b}.layers.{n}", f"xvector.block{b + 1}.tdnnd{n + 1}"
            rules += [
                Rename(f"{layer}.nonlinear{{i:d}}.0.{{leaf}}", f"{ours}.nonlinear{{i}}.batchnorm.{{leaf}}"),
                Rename(f"{layer}.linear1.weight", f"{ours}.linear1.weight", _POINTWISE),
                Rename(f"{layer}.cam_layer.linear_local.weight", f"{ours}.cam_layer.linear_local.weight"),
                *_linear(f"{layer}.cam_layer.linear{{i:d}}", f"{ours}.cam_layer.linear{{i}}", _POINTWISE),
            ]
    return WeightMap(*rules)


def _estimator_block(source: str, target: str) -> list[Rule]:
    resnet, transformer, ours = f"{source}.resnet", f"{source}.transformer_{{j:d}}", f"{target}.transformers.{{j}}"
    return [
        *_linear(f"{resnet}.mlp_linear", f"{target}.resnet.mlp"),
        Rename(f"{resnet}.block{{k:d}}.conv.conv.{{leaf}}", f"{target}.resnet.block{{k}}.conv.{{leaf}}"),
        Rename(f"{resnet}.block{{k:d}}.norm.{{leaf}}", f"{target}.resnet.block{{k}}.norm.{{leaf}}"),
        *_linear(f"{resnet}.res_conv", f"{target}.resnet.res_conv", _POINTWISE),
        Rename(f"{transformer}.norm{{k:d}}.{{leaf}}", f"{ours}.norm{{k}}.{{leaf}}"),
        Fuse(
            tuple(f"{transformer}.attn.{each}_proj.weight" for each in ("query", "key", "value")),
            f"{ours}.attn1.to_qkv.weight",
        ),
        LostBias(f"{transformer}.attn.out_proj", f"{ours}.attn1.to_out"),
        Rename(f"{transformer}.ff.layers.0.{{leaf}}", f"{ours}.ff.expand.{{leaf}}"),
        Rename(f"{transformer}.ff.layers.1.{{leaf}}", f"{ours}.ff.project.{{leaf}}"),
    ]


def _flow() -> WeightMap:
    estimator = [
        *_same("time_mlp.linear_{n:d}.{leaf}"),
        *_estimator_block("down_blocks_0", "down_block"),
        Rename("down_blocks_0.downsample.conv.{leaf}", "down_conv.{leaf}"),
        *_estimator_block("mid_blocks_{i:d}", "mid_blocks.{i}"),
        *_estimator_block("up_blocks_0", "up_block"),
        Rename("up_blocks_0.upsample.conv.{leaf}", "up_conv.{leaf}"),
        Rename("final_block.conv.conv.{leaf}", "final_block.conv.{leaf}"),
        *_same("final_block.norm.{leaf}"),
        *_linear("final_proj", "final_proj", _POINTWISE),
    ]
    encoder: list[Rule] = [*_same("{embed}.linear.{leaf}", "{embed}.norm.{leaf}"), *_same("{layer}.conv.{leaf}")]
    encoder += _same("pre_lookahead_layer.conv{n:d}.{leaf}")
    encoder.append(Drop("{embed}.pos_enc.pe", "encoded positions, which are computed", count=2, optional=True))
    return (
        AROUND_ESTIMATOR
        + WeightMap(*encoder).under("encoder.", "encoder.")
        + WeightMap(*estimator).under("decoder.estimator.", "decoder.estimator.")
        + WeightMap(Drop("decoder.rand_noise", "noise, which is drawn for each synthesis", count=1, optional=True))
    )


def _vocoder() -> WeightMap:
    return WeightMap(
        *_same("conv_pre.{leaf}", "conv_post.{leaf}", "ups.{n:d}.{leaf}", "source_downs.{n:d}.{leaf}"),
        *_same("{stack}.{block:d}.{layers}.{n:d}.{leaf}", "m_source.l_linear.{leaf}", "f0_predictor.classifier.{leaf}"),
        # They count the convolutions, upstream and we the activations between them too.
        *(Rename(f"f0_predictor.condnet.{n}.{{leaf}}", f"f0_predictor.condnet.{2 * n}.{{leaf}}") for n in range(5)),
        Drop("stft_window", "a Hann window, which is computed", count=1, optional=True),
    )


_VOICE_ENCODER = WeightMap(
    *_same("lstm.layers.{n:d}.{leaf}", "proj.{leaf}"),
    Drop("similarity_{what}", "scales similarities in the training loss only", count=2),
)

_T3 = (
    AROUND_LLAMA
    + LLAMA.under("tfmr.model.", "tfmr.")
    + WeightMap(
        Drop("tfmr.model.embed_tokens.weight", UNUSED_TABLE, count=1),
        Drop("tfmr.lm_head.weight", "the backbone's own head: T3 has its own two", count=1, optional=True),
    )
)

_S3_TOKENIZER = WeightMap(
    *_same("encoder.conv{n:d}.{leaf}", "encoder.blocks.{n:d}.attn.{module}.{leaf}"),
    *_same("encoder.blocks.{n:d}.attn_ln.{leaf}", "encoder.blocks.{n:d}.mlp_ln.{leaf}"),
    Rename("encoder.blocks.{n:d}.mlp.layers.0.{leaf}", "encoder.blocks.{n}.mlp.layers.0.{leaf}"),
    Rename("encoder.blocks.{n:d}.mlp.layers.2.{leaf}", "encoder.blocks.{n}.mlp.layers.1.{leaf}"),
    Rename("quantizer.fsq_codebook.project_down.{leaf}", "quantizer.codebook.project_down.{leaf}"),
)

WEIGHTS = (
    _VOICE_ENCODER.under("ve.", "ve.")
    + _T3.under("t3.", "t3.")
    + _speaker_encoder().under("s3gen.speaker_encoder.", "s3gen.speaker_encoder.")
    + _flow().under("s3gen.flow.", "s3gen.flow.")
    + _vocoder().under("s3gen.mel2wav.", "s3gen.mel2wav.")
    + WeightMap(Drop("s3gen.trim_fade", "a fade-in, which is computed", count=1, optional=True))
    + _S3_TOKENIZER.under("s3_tokenizer.", "s3_tokenizer.")
)
"""From the one file, everything but the watermarker."""
