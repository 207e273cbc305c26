"""The flow beside upstream's: whole inferences, and single steps from a recorded state."""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.components.flow import Flow
from pytorch_to_mlx.parity import FLOAT32, Bar

BARS = {
    "mel": Bar("relative", 1e-4),
    "*": FLOAT32,
}
_ESTIMATOR = "decoder.estimator"
LAYOUTS = {
    "encoder.up_layer": "NCL->NLC",
    f"{_ESTIMATOR}.*_blocks.*.1.[0-3]": "NLC->NLC",
    f"{_ESTIMATOR}.*": "NCL->NLC",
    "state.*": "NCL->NLC",
    "mel": "NCL->NLC",
}
_BLOCKS = {"down_blocks.0": "down_block", "up_blocks.0": "up_block"} | {
    f"mid_blocks.{i}": f"mid_blocks.{i}" for i in range(12)
}
NAMES = {
    f"{_ESTIMATOR}.{upstream}": f"{_ESTIMATOR}.{ours}"
    for theirs, block in _BLOCKS.items()
    for upstream, ours in {
        f"{theirs}.0": f"{block}.resnet",
        **{f"{theirs}.1.{i}": f"{block}.transformers.{i}" for i in range(4)},
    }.items()
} | {f"{_ESTIMATOR}.{side}_blocks.0.2": f"{_ESTIMATOR}.{side}_conv" for side in ("down", "up")}
LEADING: tuple[str, ...] = ()
CONTROL_CASE = "control"
ALIVE = {"tokens": 0.05, "prompt_tokens": 0.05, "prompt_mel": 0.05, "embedding": 0.05}


def run(network: Flow, inputs: Mapping[str, np.ndarray], noise: Mapping[str, np.ndarray]) -> None:
    """Arrays channels last, as `Flow.__call__` takes them; with `times`, the solver between these alone."""
    names = ("tokens", "prompt_tokens", "prompt_mel", "embedding")
    tokens, prompt_tokens, prompt_mel, embedding = (mx.array(inputs[name]) for name in names)
    z = mx.array(noise["z"])
    if "times" not in inputs:
        mx.eval(network(tokens, prompt_tokens, prompt_mel, embedding, z))
        return
    mu = network.encode(mx.concatenate([prompt_tokens, tokens], axis=1))
    prompt = mx.pad(prompt_mel, [(0, 0), (0, mu.shape[1] - prompt_mel.shape[1]), (0, 0)])
    mx.eval(network.decoder(z, mu, network.speaker(embedding), prompt, mx.array(inputs["times"])))
