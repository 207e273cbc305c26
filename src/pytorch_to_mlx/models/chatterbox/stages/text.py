"""Text to token ids, for each language."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pytorch_to_mlx.models.chatterbox.text import normalise
from pytorch_to_mlx.parity import Bar, tap

if TYPE_CHECKING:
    from pytorch_to_mlx.models.chatterbox.model import ChatterboxModel

BARS: dict[str, Bar] = {"*": Bar("exact")}
ALIVE = {"distinct_tokens": 5}


def run(model: ChatterboxModel, inputs: Mapping[str, np.ndarray], noise: Mapping[str, np.ndarray]) -> None:
    """Normalise and encode a text; no network takes part."""
    text, language = (bytes(inputs[name].tolist()).decode() for name in ("text", "language"))
    normalised = normalise(text, model.config.text)
    tap("normalised", np.frombuffer(normalised.encode(), np.uint8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # made-up vocabularies lack letters
        tap("ids", model.tokenizer.encode(normalised, language or None))
