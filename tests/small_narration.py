"""A small Qwen3-TTS that narrations speak with, and what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from small_ports import SEED
from small_qwen3_tts import write_model

from pytorch_to_mlx import Audio, convert
from pytorch_to_mlx.service.job import Job
from pytorch_to_mlx.service.narration import Narration

RATE = 24000
TEXTS = ["One.", "Two and two.", "Three is said here.", "Four, and that is longer still.", "Five 5 kg."]
SEGMENTS = [{"id": f"s{number}", "text": text} for number, text in enumerate(TEXTS)]
SHORT = {"max_tokens": 6}
"""Seeded weights would babble."""


def write_narrator(folder: Path) -> Path:
    """A folder with `model`, which clones voices, and `anna.wav`."""
    convert(write_model("qwen3_tts-0.6b-base", folder / "source"), folder / "model", dtype="float32")
    Audio(SEED.speechlike(1, 1.0, RATE), RATE).write(folder / "anna.wav")
    return folder


def job(folder: Path, **changes: Any) -> Job:
    """For `write_narrator`'s folder."""
    return Job(**{"model": folder / "model", "voice": str(folder / "anna.wav"), "settings": SHORT, **changes})


def said(narration: Narration) -> list[bytes]:
    """The files of what was said."""
    return [result.path.read_bytes() for result in narration.results if result.path]


def made(narration: Narration) -> list[str]:
    """Ids of what did not come from the cache."""
    return [result.id for result in narration.results if not result.from_cache]
