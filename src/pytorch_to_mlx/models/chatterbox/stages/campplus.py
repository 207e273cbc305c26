"""CAM++ beside upstream's, from a recording at 16 kHz."""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.components.campplus import CAMPPlus
from pytorch_to_mlx.parity import FLOAT32, Bar

BARS: dict[str, Bar] = {"*": FLOAT32}
LAYOUTS = {
    "head.?*": "NCHW->NHWC",
    "head": "NCL->NLC",
    "xvector.stats": "NC->NC",
    "xvector.dense": "NC->NC",
    "xvector.*": "NCL->NLC",
}
NAMES = {"embedding": "xvector"}
ALIVE = {"nearest_distance": 0.05, "varied": 0.05}


def run(network: CAMPPlus, inputs: Mapping[str, np.ndarray], noise: Mapping[str, np.ndarray]) -> None:
    mx.eval(network.embed(inputs["wav"]))
