"""CREPE: what the port declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.models.crepe.model import CrepeTracker
from pytorch_to_mlx.models.crepe.network import Crepe, CrepeConfig
from pytorch_to_mlx.parity import Bar, scope, tap
from pytorch_to_mlx.port import Part, Port, Reference, Stage, Variant
from pytorch_to_mlx.quantization import Choice, QuantizationPolicy
from pytorch_to_mlx.tasks import Decoder
from pytorch_to_mlx.weights import Drop, Rename, WeightMap

# Upstream's usual threshold of periodicity between voiced and unvoiced frames.
VOICED = 0.21
# The reference records wide taps of this many frames.
EMBEDDED = 4

WEIGHTS = WeightMap(
    Rename("conv{n:d}.weight", "conv{n:d}.weight", "OIK1->OKI"),
    Rename("conv{n:d}.bias", "conv{n:d}.bias"),
    Rename("conv{n:d}_BN.weight", "conv{n:d}_BN.weight"),
    Rename("conv{n:d}_BN.bias", "conv{n:d}_BN.bias"),
    Rename("conv{n:d}_BN.running_{what}", "conv{n:d}_BN.running_{what}"),
    Drop("conv{n:d}_BN.num_batches_tracked", "counts training steps", count=6),
    Rename("classifier.{leaf}", "classifier.{leaf}"),
)


def _variant(name: str, channels: tuple[int, int, int, int, int, int], size: str) -> Variant:
    part = Part(
        files=(f"assets/{name}.pth",),
        signature={
            "conv1.weight": (channels[0], 1, 512, 1),
            "conv6_BN.running_var": (channels[5],),
            "classifier.weight": (360, 4 * channels[5]),
        },
        weights=WEIGHTS,
    )
    return Variant(name, f"{size} parameters", "MIT", CrepeConfig(channels), (part,))


def _run(model: CrepeTracker, inputs: Mapping[str, np.ndarray], noise: Mapping[str, np.ndarray]) -> None:
    rate, fmin, fmax = int(inputs["rate"]), float(inputs["fmin"]), float(inputs["fmax"])
    # Upstream's default hop of 10 ms is rounded down at the recording's rate, then at 16 kHz.
    hop = int(rate // 100 * 16000 / rate)
    frames = model.frames(Audio(inputs["wav"], rate), hop)
    model.embedding(frames[:EMBEDDED])
    probabilities = model.probabilities(frames)
    for decoder in get_args(Decoder):
        dither = noise["dither_bins" if decoder == "weighted" else "dither_frames"]
        with scope(decoder):
            model.decode(probabilities, hop_length=hop, fmin=fmin, fmax=fmax, decoder=decoder)
            dithered = model.decode(probabilities, fmin=fmin, fmax=fmax, decoder=decoder, dither=dither)
            tap("dithered_pitch", dithered.pitch)


STAGE = Stage(
    run=_run,
    bars={
        "float32": {
            "viterbi/bins": Bar("exact"),
            "*/bins": Bar("exact", candidates="probabilities"),
            "*pitch": Bar("cents", 0.1, where="periodicity", above=VOICED, same="bins"),
            "*": Bar("relative", 1e-5),
        },
        "float16": {"probabilities": Bar("relative", 0.01)},
        "bfloat16": {"probabilities": Bar("relative", 0.1)},
        "8-bit": {"probabilities": Bar("relative", 0.02)},
        "4-bit": {"probabilities": Bar("relative", 0.2)},
    },
    layouts={"conv[1-6]": "NCL1->NLC", "conv[1-6]_BN": "NCL1->NLC"},
    alive={"voiced_fraction": 0.1, "nearest_distance": 0.05},
    leading=("conv*", "embedding", "classifier"),
)

PORT = Port(
    name="crepe",
    summary="CREPE pitch tracker",
    task="pitch tracker",
    variants={
        v.name: v
        for v in (
            _variant("tiny", (128, 16, 16, 16, 32, 64), "0.5 M"),
            _variant("full", (1024, 128, 128, 128, 256, 512), "22 M"),
        )
    },
    config_type=CrepeConfig,
    build=Crepe,
    model=lambda network, config, folder: CrepeTracker(network),
    quantization=QuantizationPolicy(
        quantize=(Choice("classifier", "a linear layer; only the bins' ranking and the pitch near the best count"),),
        never=(Choice("conv[1-6](_BN)?", "MLX has no quantized convolution"),),
    ),
    reference=Reference(
        script="crepe.py",
        upstream="torchcrepe 0.0.24",
        stages={"": STAGE},
    ),
)
