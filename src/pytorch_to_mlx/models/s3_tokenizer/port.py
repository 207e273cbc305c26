"""S3 speech tokenizers: what the port declares."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.components.s3_tokenizer import S3Tokenizer, S3TokenizerConfig, S3TokenizerModel
from pytorch_to_mlx.components.s3_tokenizer.network import V1_25HZ, V1_50HZ, V2_25HZ
from pytorch_to_mlx.components.s3_tokenizer.stage import ALIVE, BARS, CONTROL_CASE, LAYOUTS, run
from pytorch_to_mlx.components.s3_tokenizer.weights import V1, V2
from pytorch_to_mlx.port import Part, Port, Reference, Stage, Variant
from pytorch_to_mlx.quantization import Choice, QuantizationPolicy

SIGNATURES = {
    "v1": {"encoder.conv1.weight": (1280, 128, 3), "quantizer._codebook.embed": (4096, 1280)},
    "v2": {"encoder.conv1.weight": (1280, 128, 3), "quantizer._codebook.project_down.weight": (8, 1280)},
}
WEIGHTS = {"v1": V1, "v2": V2}


def _variant(name: str, file: str, version: Literal["v1", "v2"], origin: str, config: S3TokenizerConfig) -> Variant:
    part = Part((f"{file}.pt", f"{file}.safetensors"), SIGNATURES[version], WEIGHTS[version])
    return Variant(name, f"{config.tokens_per_second} tokens a second, of {origin}", "Apache-2.0", config, (part,))


def _model(network: S3Tokenizer, config: S3TokenizerConfig, folder: Path) -> S3TokenizerModel:
    return S3TokenizerModel(network)


def _run(model: S3TokenizerModel, inputs: Mapping[str, np.ndarray], noise: Mapping[str, np.ndarray]) -> None:
    if "rate" in inputs:
        model.tokenize(Audio(inputs["wav"], int(inputs["rate"])))
    else:
        run(model.network, inputs, noise)


VARIANTS = (
    _variant("v1-50hz", "speech_tokenizer_v1", "v1", "CosyVoice", V1_50HZ),
    _variant("v1-25hz", "speech_tokenizer_v1_25hz", "v1", "CosyVoice", V1_25HZ),
    _variant("v2-25hz", "speech_tokenizer_v2_25hz", "v2", "CosyVoice 2", V2_25HZ),
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
