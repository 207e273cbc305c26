"""The Perth watermarker: what the port declares."""

from __future__ import annotations

from dataclasses import dataclass

from pytorch_to_mlx.components.perth import FILES, SIGNATURE, WEIGHTS, Perth, PerthWatermarker
from pytorch_to_mlx.components.perth.stage import ALIVE, BARS, BFLOAT16, CONTROL_CASE, FLOAT16, LAYOUTS, run
from pytorch_to_mlx.port import Part, Port, Reference, Stage, Variant
from pytorch_to_mlx.quantization import Choice, QuantizationPolicy


@dataclass(frozen=True)
class PerthConfig:
    """The network has one size."""


PORT = Port(
    name="perth",
    summary="Perth audio watermarker",
    task="watermarker",
    variants={
        "implicit": Variant(
            "implicit",
            "trained weights of the resemble-perth package",
            "MIT",
            PerthConfig(),
            (Part(files=FILES, signature=SIGNATURE, weights=WEIGHTS),),
        )
    },
    config_type=PerthConfig,
    build=lambda config: Perth(),
    model=lambda network, config, folder: PerthWatermarker(network),
    quantization=QuantizationPolicy(never=(Choice("encoder|decoder", "MLX has no quantized convolution"),)),
    reference=Reference(
        script="perth_watermark.py",
        upstream="resemble-perth 1.0.1",
        stages={
            "perth": Stage(
                run=lambda model, inputs, noise: run(model.network, inputs, noise),
                bars={"float32": BARS, "float16": FLOAT16, "bfloat16": BFLOAT16},
                layouts=LAYOUTS,
                alive=ALIVE,
                control_case=CONTROL_CASE,
            )
        },
    ),
)
