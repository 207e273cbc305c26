"""HiFT beside upstream's: F0, source and waveform, each from recorded inputs."""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.components.hift import HiFT
from pytorch_to_mlx.parity import FLOAT32, Bar, tap

BARS = {
    "wav": Bar("decibels", 75),
    "*": FLOAT32,
}
LAYOUTS = {
    "f0_predictor.*": "NCL->NLC",
    "m_source.l_sin_gen": "NCL->NLC",
    "conv_*": "NCL->NLC",
    "ups.*": "NCL->NLC",
    "source_*": "NCL->NLC",
    "resblocks.*": "NCL->NLC",
}
NAMES: dict[str, str] = {}
LEADING: tuple[str, ...] = ()
ALIVE = {"voiced": 0.5, "loudness": 0.03, "unclipped": 0.9, "wav_distance": 0.05}


def run(network: HiFT, inputs: Mapping[str, np.ndarray], noise: Mapping[str, np.ndarray]) -> None:
    """Arrays as upstream has them: mel (1, 80, T), f0 (1, T), source (1, 1, N), phase (1, 9, 1), noise (1, 9, N)."""
    mel, source, phases = (
        mx.array(array).transpose(0, 2, 1) for array in (inputs["mel"], inputs["source"], noise["noise"])
    )
    mx.eval(
        network.predict_f0(mel), network.excite(mx.array(inputs["f0"]), mx.array(noise["phase"]).squeeze(-1), phases)
    )
    tap("wav", network.decode(mel, source))
