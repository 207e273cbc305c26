"""A small Whisper of seeded weights, as its small recording describes it, with words of its own."""

from __future__ import annotations

import base64
import itertools
from pathlib import Path

from described import described, tensors
from held import loaded

from pytorch_to_mlx.models.whisper.config import WhisperConfig
from pytorch_to_mlx.models.whisper.model import WhisperModel
from pytorch_to_mlx.models.whisper.network import Whisper
from pytorch_to_mlx.models.whisper.vocabulary import FILE
from pytorch_to_mlx.models.whisper.weights import OPENAI

GOLDEN = "whisper-tiny"
RANKS = 50257
LETTERS = "etaoinshrdlucmfwypvbgkjqxz"


def config() -> WhisperConfig:
    """Its sizes."""
    return WhisperConfig(**described(GOLDEN)["settings"]["dims"])


def words() -> list[bytes]:
    """As many as upstream's multilingual vocabulary has: bytes, then what letters make, half of it behind a space."""
    made = [bytes([byte]) for byte in range(256)]
    made += [f" {letter}".encode() for letter in LETTERS]
    for length in (2, 3, 4):
        for letters in itertools.product(LETTERS, repeat=length):
            made += ["".join(letters).encode(), f" {''.join(letters)}".encode()]
            if len(made) >= RANKS:
                return made[:RANKS]
    raise AssertionError("too few words")


def write_vocabulary(folder: Path) -> Path:
    """The file that a converted folder has."""
    lines = [base64.b64encode(word) + f" {rank}".encode() for rank, word in enumerate(words())]
    (folder / FILE).write_bytes(b"\n".join(lines))
    return folder


def small_whisper(folder: Path) -> WhisperModel:
    """The model, its vocabulary written to `folder`."""
    network = loaded(Whisper(config()), OPENAI, tensors(GOLDEN))
    return WhisperModel(network, config(), write_vocabulary(folder))
