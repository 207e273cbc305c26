"""Upstream's 548 tensors, the state dicts of five networks, as parameters: weight norm is folded."""

from __future__ import annotations

from pytorch_to_mlx.weights import Drop, FoldWeightNorm, Rename, WeightMap

CONV, TRANSPOSED, DEPTHWISE_TRANSPOSED = "OIK->OKI", "IOK->OKI", "IOK->IKO"
RESIDUAL = "generator.{blocks}.{n:d}"
LAYER = "encoder.albert_layer_groups.{g:d}.albert_layers.{n:d}"
NORMED_AWAY = "the norm that follows takes away what is added to a whole channel"
ALL_THE_SAME = "it adds the same to all scores of a token, which softmax takes away"


def _same(*names: str) -> WeightMap:
    return WeightMap(*(Rename(name, name.replace(":d", "")) for name in names))


def _normed(module: str, layout: str = CONV, target: str = "", *, bias: bool = True) -> WeightMap:
    """A convolution with weight norm; without `bias` it has one that counts for nothing."""
    target = target or module.replace(":d", "")
    rest = Rename(f"{module}.bias", f"{target}.bias") if bias else Drop(f"{module}.bias", NORMED_AWAY)
    return WeightMap(FoldWeightNorm(module, f"{target}.weight", layout), rest)


def _lstm(path: str) -> WeightMap:
    return _same(f"{path}.{{of}}_l0", f"{path}.{{of}}_l0_reverse")


def _blocks(path: str) -> WeightMap:
    """Of `AdainResBlk1d`: three convolutions at most, and two styles."""
    shortcut = FoldWeightNorm(f"{path}.conv1x1", f"{path}.conv1x1.weight".replace(":d", ""), CONV)
    return (
        _normed(f"{path}.conv1", bias=False)
        + _normed(f"{path}.conv2")
        + WeightMap(shortcut)
        + _same(f"{path}.norm{{half:d}}.fc.{{leaf}}")
    )


BERT = (
    _same(
        "embeddings.{path*}",
        "encoder.embedding_hidden_mapping_in.{leaf}",
        *(f"{LAYER}.{name}.{{leaf}}" for name in ("full_layer_layer_norm", "ffn", "ffn_output")),
        *(f"{LAYER}.attention.{name}.{{leaf}}" for name in ("query", "value", "dense", "LayerNorm")),
        f"{LAYER}.attention.key.weight",
    )
    + WeightMap(Drop(f"{LAYER}.attention.key.bias", ALL_THE_SAME))
    + WeightMap(Drop("pooler.{leaf}", "the pooled output, which nothing asks for", 2))
)
TEXT_ENCODER = (
    _same("embedding.weight")
    + _normed("cnn.{n:d}.0", target="cnn.{n}.conv")
    + WeightMap(
        Rename("cnn.{n:d}.1.gamma", "cnn.{n}.norm.weight"),
        Rename("cnn.{n:d}.1.beta", "cnn.{n}.norm.bias"),
    )
    + _lstm("lstm")
)
PREDICTOR = (
    _lstm("text_encoder.lstms.{n:d}")
    + _same("text_encoder.lstms.{n:d}.fc.{leaf}", "duration_proj.linear_layer.{leaf}")
    + _lstm("lstm")
    + _lstm("shared")
    + _blocks("{curve}.{n:d}")
    + _normed("{curve}.{n:d}.pool", DEPTHWISE_TRANSPOSED)
    + WeightMap(Rename("{curve}_proj.weight", "{curve}_proj.weight", CONV))
    + _same("{curve}_proj.bias")
)
DECODER = (
    _blocks("encode")
    + _blocks("decode.{n:d}")
    + _normed("decode.{n:d}.pool", DEPTHWISE_TRANSPOSED)
    + _normed("{curve}_conv")
    + _normed("asr_res.{n:d}")
    + _normed("generator.ups.{n:d}", TRANSPOSED)
    + _normed("generator.conv_post")
    + _normed(f"{RESIDUAL}.convs1.{{m:d}}", bias=False)
    + _normed(f"{RESIDUAL}.convs2.{{m:d}}")
    + _same(f"{RESIDUAL}.adain{{half:d}}.{{m:d}}.fc.{{leaf}}")
    + WeightMap(
        Rename(f"{RESIDUAL}.alpha{{half:d}}.{{m:d}}", "generator.{blocks}.{n}.alpha{half}.{m}.alpha", "1C1->C"),
        Rename("generator.noise_convs.{n:d}.weight", "generator.noise_convs.{n}.weight", CONV),
    )
    + _same("generator.noise_convs.{n:d}.bias", "generator.m_source.l_linear.{leaf}")
)
PARTS = {
    "bert": BERT,
    "bert_encoder": _same("{leaf}"),
    "predictor": PREDICTOR,
    "text_encoder": TEXT_ENCODER,
    "decoder": DECODER,
}


def weights(within: str) -> WeightMap:
    """Of state dicts whose names begin so: `module.` in published files."""
    return sum((part.under(f"{name}.{within}", f"{name}.") for name, part in PARTS.items()), WeightMap())
