"""Small checkpoints of seeded weights, in upstream's files, as a small recording describes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import safe_open
from small_ports import SEED, WEIGHTS_25HZ, WEIGHTS_KOKORO, WEIGHTS_WHISPER, Tensors, safetensors_file

GOLDENS = Path(__file__).parent / "goldens"


def _rounded(shapes: dict[str, tuple[int, ...]], seed: int) -> Tensors:
    """Qwen3-TTS's weights, which its checkpoints have in bfloat16."""
    drawn = SEED.qwen3_tts_weights(shapes, seed)
    return {name: array.astype(ml_dtypes.bfloat16).astype(np.float32) for name, array in drawn.items()}


DRAWN = {
    "qwen3_tts_tokenizer": SEED.qwen3_codec_weights,
    "qwen3_tts_tokenizer_25hz": WEIGHTS_25HZ.weights,
    "qwen3_tts": _rounded,
    "kokoro": WEIGHTS_KOKORO.weights,
    "whisper": WEIGHTS_WHISPER.weights,
}
"""The seeded weights of a reference."""


def described(golden: str) -> dict[str, Any]:
    """What a recording says of itself: shapes of tensors, JSON files, and the rest."""
    with safe_open(GOLDENS / f"{golden}.safetensors", "np") as file:
        metadata = file.metadata()
    return {name: json.loads(text) for name, text in metadata.items() if name != "format"}


def tensors(golden: str) -> Tensors:
    """The checkpoint that the reference recorded with."""
    told = described(golden)
    return DRAWN[told["reference"]]({name: tuple(shape) for name, shape in told["shapes"].items()}, told["seed"])


def write_source(golden: str, folder: Path) -> Path:
    """The folder that upstream would load: its JSON files and `model.safetensors`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in described(golden)["settings"].items():
        (folder / name).write_text(json.dumps(content))
    safetensors_file(folder / "model.safetensors", tensors(golden))
    return folder
