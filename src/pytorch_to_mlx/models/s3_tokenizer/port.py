"""S3 speech tokenizers: what the port declares."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.components.s3_tokenizer import S3Tokenizer, S3TokenizerConfig, S3TokenizerModel
from pytorch_to_mlx.components.s3_tokenizer.network import V1_25HZ, V1_50HZ, V2_25HZ
from pytorch_to_mlx.components.s3_tokenizer.stage import ALIVE, BARS, CONTROL_CASE, LAYOUTS, run
from pytorch_to_mlx.components.s3_tokenizer.weights import CHATTERBOX, V1, V1_ONNX, V2, V2_ONNX
from pytorch_to_mlx.port import Part, Port, Reference, Stage, Variant
from pytorch_to_mlx.quantization import Choice, QuantizationPolicy

STATE, MELS = 1280, 128
V1_SIGNATURE = {"encoder.conv1.weight": (STATE, MELS, 3), "quantizer._codebook.embed": (4096, STATE)}
V2_SIGNATURE = {"encoder.conv1.weight": (STATE, MELS, 3), "quantizer._codebook.project_down.weight": (8, STATE)}
QUERY = {"/blocks.0/attn/query/MatMul:1": (STATE, STATE)}
V1_ONNX_SIGNATURE = QUERY | {"encoders.positional_embedding": (1500, STATE)}
V2_ONNX_SIGNATURE = QUERY | {"quantizer.project_in.bias": (8,)}
CHATTERBOX_FILES = ("s3gen.safetensors", "s3gen_meanflow.safetensors", "s3gen.pt")
CHATTERBOX_SIGNATURE = {f"tokenizer.{name}": shape for name, shape in V2_SIGNATURE.items()}


def _variant(file: str, origin: str, config: S3TokenizerConfig, *published: str) -> Variant:
    """`file` is what the s3tokenizer package calls it, `published` what others do."""
    files = (f"{file}.pt", f"{file}.safetensors", f"{file}.onnx", *published)
    if config.version == "v1":
        part = Part(files, V1_SIGNATURE, V1, instead=(Part((), V1_ONNX_SIGNATURE, V1_ONNX),))
    else:
        others = (Part((), V2_ONNX_SIGNATURE, V2_ONNX), Part((), CHATTERBOX_SIGNATURE, CHATTERBOX))
        part = Part(files, V2_SIGNATURE, V2, instead=others)
    rate = config.tokens_per_second
    return Variant(f"{config.version}-{rate}hz", f"{rate} tokens a second, of {origin}", "Apache-2.0", config, (part,))


def _model(network: S3Tokenizer, config: S3TokenizerConfig, folder: Path) -> S3TokenizerModel:
    return S3TokenizerModel(network)


def _run(model: S3TokenizerModel, inputs: Mapping[str, np.ndarray], noise: Mapping[str, np.ndarray]) -> None:
    if "rate" in inputs:
        model.tokenize(Audio(inputs["wav"], int(inputs["rate"])))
    else:
        run(model.network, inputs, noise)


# Both V1 models were published as speech_tokenizer_v1.onnx.
VARIANTS = (
    _variant("speech_tokenizer_v1", "CosyVoice", V1_50HZ),
    _variant("speech_tokenizer_v1_25hz", "CosyVoice", V1_25HZ, "speech_tokenizer_v1.onnx"),
    _variant("speech_tokenizer_v2_25hz", "CosyVoice 2", V2_25HZ, "speech_tokenizer_v2.onnx", *CHATTERBOX_FILES),
)

PORT = Port(
    name="s3_tokenizer",
    summary="S3 speech tokenizer of CosyVoice and Chatterbox",
    task="speech tokenizer",
    variants={variant.name: variant for variant in VARIANTS},
    config_type=S3TokenizerConfig,
    build=S3Tokenizer,
    model=_model,
    quantization=QuantizationPolicy(
        never=(Choice(".*", "a token near the border of two codes would change"),),
    ),
    reference=Reference(
        script="s3_tokenizer.py",
        upstream="s3tokenizer 0.3.0",
        stages={
            "": Stage(
                run=_run,
                bars={"float32": BARS},
                layouts=LAYOUTS,
                alive=ALIVE,
                control_case=CONTROL_CASE,
            )
        },
    ),
)
