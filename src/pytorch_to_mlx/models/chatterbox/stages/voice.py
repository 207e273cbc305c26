"""A reference recording, analysed: `voice/...`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.models.chatterbox.model import ChatterboxModel
from pytorch_to_mlx.parity import FLOAT32, Bar

BARS: dict[str, Bar] = {
    "*token*": Bar("exact"),
    "*": FLOAT32,
}
ALIVE = {"distinct_tokens": 10, "active_units": 0.1, "nearest_embedding": 0.05}


def run(model: ChatterboxModel, inputs: Mapping[str, np.ndarray], noise: Mapping[str, np.ndarray]) -> None:
    model.prepare_voice(Audio(inputs["wav"], int(inputs["rate"])))
