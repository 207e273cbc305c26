"""Perth checked by itself: what both the port `perth` and Chatterbox's declare of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.components.perth.network import Perth
from pytorch_to_mlx.components.perth.watermarker import PerthWatermarker
from pytorch_to_mlx.parity import FLOAT32, Bar

# The confidence that a recording is marked is the mean of three branches', which cancel where it is not.
BARS: dict[str, Bar] = {"*mask": Bar("exact"), "confidence": replace(FLOAT32, of="branches"), "*": FLOAT32}
FLOAT16: dict[str, Bar] = {"residual": Bar("relative", 0.02), "watermarked": Bar("relative", 0.02)}
BFLOAT16: dict[str, Bar] = {"residual": Bar("relative", 0.1), "watermarked": Bar("relative", 0.1)}
LAYOUTS = {"*layers.*": "NCL->NLC", "subband": "CL->LC", "detect/subband": "CL->LC", "residual": "CL->LC"}
ALIVE = {"marked_fraction": 0.3, "strength": 0.01, "told_apart": 0.01}
CONTROL_CASE = "control"


def run(network: Perth, inputs: Mapping[str, np.ndarray], noise: Mapping[str, np.ndarray]) -> None:
    """Mark the recording, and tell whether it, as given, is marked."""
    watermarker, audio = PerthWatermarker(network), Audio(inputs["wav"], int(inputs["rate"]))
    watermarker.apply(audio)
    watermarker.detect(audio)
