"""The tokenizers checked by themselves: what both the port `s3_tokenizer` and Chatterbox's declare of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pytorch_to_mlx.components.s3_tokenizer.network import S3Tokenizer
from pytorch_to_mlx.components.s3_tokenizer.tokenizing import tokenize
from pytorch_to_mlx.parity import FLOAT32, Bar

BARS: dict[str, Bar] = {
    "tokens": Bar("exact", candidates="distances", rounded="levels"),
    "lengths": Bar("exact"),
    "*": FLOAT32,
}
LAYOUTS = {"encoder.conv?": "NCL->NLC"}
ALIVE = {"distinct": 0.2, "changed": 0.2}
CONTROL_CASE = "control"


def run(network: S3Tokenizer, inputs: Mapping[str, np.ndarray], noise: Mapping[str, np.ndarray]) -> None:
    """Tokens of one recording at 16 kHz, `wav`, or of several, `wav0`, `wav1`, ..., perhaps cut to `max_tokens`."""
    recordings = [inputs[name] for name in sorted(inputs) if name.startswith("wav")]
    most = inputs.get("max_tokens")
    tokenize(network, recordings, max_tokens=None if most is None else int(most))
