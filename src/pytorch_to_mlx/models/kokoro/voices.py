"""Kokoro's voices: a style for each length of text, in one file, one of them or several blended."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from pytorch_to_mlx.checkpoint import open_checkpoint
from pytorch_to_mlx.errors import CheckpointError, UsageError
from pytorch_to_mlx.models.kokoro.config import STYLE

FILE = "voices.safetensors"
PATTERN = "voices/*.pt"
_NAME = re.compile(r"[\w-]{1,64}")
_WEIGHT = re.compile(r"\d{1,6}(?:\.\d{1,6})?")

Voices = Mapping[str, np.ndarray]
"""By name, (lengths, 256) each: the first is for a text of one phoneme."""


def packed(files: Mapping[str, Path]) -> bytes:
    """One safetensors file of upstream's `voices/NAME.pt`, (lengths, 1, 256) each.

    Raises:
        CheckpointError: one of them holds something else.
    """
    voices = {}
    for path in sorted(files.values()):
        with open_checkpoint(path) as tensors:
            shape = tensors.info("tensor").shape if list(tensors) == ["tensor"] else ()
            if not (_NAME.fullmatch(path.stem) and len(shape) == 3 and shape[0] and shape[1:] == (1, 2 * STYLE)):
                raise CheckpointError(f"{path}: is no voice of Kokoro; take it out of the folder, or get it again")
            styles = np.array(tensors.read("tensor"))[:, 0]
        if path.stem.casefold() in map(str.casefold, voices):
            raise CheckpointError(f"{path}: another voice is called {path.stem} too; rename one")
        if not np.isfinite(styles).all():
            raise CheckpointError(f"{path}: has numbers that are not finite; get it again")
        voices[path.stem] = np.ascontiguousarray(styles, np.float32)
    return save(voices)


def read(path: Path) -> Voices:
    """What `packed` wrote.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    with open_checkpoint(path) as tensors:
        voices = {name: np.array(tensors.read(name)) for name in sorted(tensors)}
    for name, styles in voices.items():
        if styles.ndim != 2 or not len(styles) or styles.shape[1] != 2 * STYLE or not np.isfinite(styles).all():
            raise CheckpointError(f"{path}: {name} is no voice; convert the model again")
    return voices


def blended(voices: Voices, wanted: str) -> np.ndarray:
    """The styles of a voice, or of several: `af_heart`, `af_heart,am_adam` or `af_heart:0.6+am_adam:0.4`.

    Weights count relative to one another; those that are not given are equal, as in upstream's lists.

    Raises:
        UsageError: there is no such voice, or the weights are none.
    """
    names = {name.casefold(): name for name in voices}
    weights: list[float] = []
    styles: list[np.ndarray] = []
    for part in re.split(r"[+,]", wanted.replace(" ", "")):
        name, colon, weight = part.partition(":")
        if name.casefold() not in names:
            raise UsageError(f"no voice is called {name!r}; there are {', '.join(voices)}, and blends: a:0.6+b:0.4")
        if colon and not _WEIGHT.fullmatch(weight):
            raise UsageError(f"the weight of {name} is {weight!r}; give a number, as in a:0.6+b:0.4")
        weights.append(float(weight) if colon else 1.0)
        styles.append(voices[names[name.casefold()]])
    if not sum(weights):
        raise UsageError(f"the weights of {wanted!r} add up to nothing")
    lengths = min(map(len, styles))
    stacked = np.stack([each[:lengths] for each in styles])
    return np.average(stacked, axis=0, weights=weights).astype(np.float32)
