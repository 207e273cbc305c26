"""What becomes of upstream's tensors.

`V1` and `V2` take the state dicts of s3tokenizer's S3Tokenizer and S3TokenizerV2. `V1_ONNX` and `V2_ONNX` take the ONNX
models as published, whose initialisers are called as parameters or by their use (checkpoint/onnx_file.py); what is
what, s3tokenizer.utils.onnx2torch tells. `CHATTERBOX` takes the one inside Chatterbox's S3Gen.
"""

from __future__ import annotations

from pytorch_to_mlx.weights import Drop, Rename, Rule, WeightMap


def block(source: str, target: str) -> WeightMap:
    """One of Whisper's blocks, with the biases that it has."""
    return WeightMap(
        *(
            Rename(f"{source}.attn.{name}.{{leaf}}", f"{target}.attn.{name}.{{leaf}}")
            for name in ("query", "value", "out")
        ),
        Rename(f"{source}.attn.key.weight", f"{target}.attn.key.weight"),
        Rename(f"{source}.attn_ln.{{leaf}}", f"{target}.attn_ln.{{leaf}}"),
        Rename(f"{source}.mlp.0.{{leaf}}", f"{target}.mlp.layers.0.{{leaf}}"),
        Rename(f"{source}.mlp.2.{{leaf}}", f"{target}.mlp.layers.1.{{leaf}}"),
        Rename(f"{source}.mlp_ln.{{leaf}}", f"{target}.mlp_ln.{{leaf}}"),
    )


CONVOLUTIONS = WeightMap(
    Rename("conv{n:d}.weight", "conv{n}.weight", "OIK->OKI"),
    Rename("conv{n:d}.bias", "conv{n}.bias"),
)

_ENCODER = CONVOLUTIONS.under("encoder.", "encoder.") + block("encoder.blocks.{n:d}", "encoder.blocks.{n}")

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


def _either(first: str, second: str, target: str, layout: str | None = None) -> tuple[Rule, Rule]:
    """One tensor that is called one way or the other."""
    return (
        Rename(first, target, layout, optional=True),
        Rename(second, target, layout, optional=True),
    )


# A linear layer's name in upstream's state dict, the scope of its nodes, and our name.
_LINEARS = (
    *((f"attn.{name}", f"attn/{name}", f"attn.{name}") for name in ("query", "key", "value", "out")),
    ("mlp.0", "mlp/mlp.0", "mlp.layers.0"),
    ("mlp.2", "mlp/mlp.2", "mlp.layers.1"),
)


def _onnx(root: str, norm: tuple[str, str]) -> WeightMap:
    """The encoder, `root` before the names it gives; nodes that end in `norm` take a layer norm's weight and bias."""
    rules: list[Rule] = []
    for i, leaf, layout in ((1, "weight", "OIK->OKI"), (2, "bias", None)):
        given, target = f"{root}conv{{n:d}}.{leaf}", f"encoder.conv{{n}}.{leaf}"
        rules += _either(given, f"/conv{{n:d}}/Conv:{i}", target, layout)
    block, scope, ours = f"{root}blocks.{{n:d}}.", "/blocks.{n:d}/", "encoder.blocks.{n}."
    for given, nodes, target in _LINEARS:
        rules.append(Rename(f"{scope}{nodes}/MatMul:1", f"{ours}{target}.weight", "IO->OI"))
        if given != "attn.key":
            rules += _either(f"{block}{given}.bias", f"{scope}{nodes}/Add:{{i:d}}", f"{ours}{target}.bias")
    for layer in ("attn_ln", "mlp_ln"):
        for leaf, node in zip(("weight", "bias"), norm, strict=True):
            rules += _either(f"{block}{layer}.{leaf}", f"{scope}{layer}/{node}", f"{ours}{layer}.{leaf}")
    return WeightMap(*rules)


V1_ONNX = _onnx("encoders.", ("Mul:{i:d}", "Add_1:{i:d}")) + WeightMap(
    Rename("encoders.positional_embedding", "encoder.positional_embedding"),
    # The product and the squares after it use one initialiser: the codebook, transposed. It is named by the first.
    Rename("/quantizer/rq/model/layers.0/_codebook/MatMul:1", "quantizer.codebook.embed", "IO->OI"),
)

V2_ONNX = _onnx("", ("LayerNormalization:1", "LayerNormalization:2")) + WeightMap(
    Rename("blocks.{n:d}.attn.fsmn_block.weight", "encoder.blocks.{n}.attn.fsmn_block.weight", "OIK->OKI"),
    *_either(
        "/quantizer/project_in/MatMul:1", "/project_in/MatMul:1", "quantizer.codebook.project_down.weight", "IO->OI"
    ),
    Rename("quantizer.project_in.bias", "quantizer.codebook.project_down.bias"),
)

# Of Chatterbox's S3Gen, which holds the tokenizer under a prefix, all else.
CHATTERBOX = V2.under("tokenizer.", "") + WeightMap(
    Drop("speaker_encoder.{p*}", "Chatterbox's speaker encoder"),
    Drop("flow.{p*}", "Chatterbox's flow from tokens to a spectrum"),
    Drop("mel2wav.{p*}", "Chatterbox's vocoder"),
)
