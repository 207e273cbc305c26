"""A small Whisper of seeded weights, as its small recording describes it, with words of its own."""

from __future__ import annotations

import base64
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from described import described, tensors
from held import loaded
from small_ports import NAMES_WHISPER, WEIGHTS_WHISPER, Tensors, safetensors_file

from pytorch_to_mlx import convert
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


def write_vocabulary(folder: Path, *, english: bool = False) -> Path:
    """The file that a converted folder has; as upstream's, the English one has a word fewer."""
    known = words()[:-1] if english else words()
    lines = [base64.b64encode(word) + f" {rank}".encode() for rank, word in enumerate(known)]
    (folder / FILE).write_bytes(b"\n".join(lines))
    return folder


def small_whisper(folder: Path) -> WhisperModel:
    """The model, its vocabulary written to `folder`."""
    network = loaded(Whisper(config()), OPENAI, tensors(GOLDEN))
    return WhisperModel(network, config(), write_vocabulary(folder))


def openai_tensors() -> Tensors:
    """A small checkpoint that takes 30 s, by OpenAI's names."""
    shapes = {name: tuple(shape) for name, shape in described(GOLDEN)["shapes"].items()}
    shapes["encoder.positional_embedding"] = (1500, 64)
    return WEIGHTS_WHISPER.weights(shapes)


def transformers_tensors() -> Tensors:
    """The same by transformers' names."""
    return {NAMES_WHISPER.renamed(name): array for name, array in openai_tensors().items()}


def write_source(folder: Path, **changes: Any) -> Path:
    """A folder in transformers' layout; `changes` are of config.json."""
    told = {
        "model_type": "whisper", "num_mel_bins": 80, "max_source_positions": 1500, "max_target_positions": 448,
        "d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 256, "decoder_ffn_dim": 256, "vocab_size": 51865,
        "activation_function": "gelu", "scale_embedding": False,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(told | changes), encoding="utf-8")
    safetensors_file(folder / "model.safetensors", transformers_tensors())
    return folder


def write_package(folder: Path) -> Path:
    """An installed openai-whisper, as far as its vocabularies go."""
    write_vocabulary(folder)
    assets = folder / "whisper" / "assets"
    assets.mkdir(parents=True)
    (folder / FILE).rename(assets / "multilingual.tiktoken")
    (folder / "whisper" / "__init__.py").touch()
    records = folder / "openai_whisper-20250625.dist-info"
    records.mkdir()
    (records / "METADATA").write_text("Metadata-Version: 2.1\nName: openai-whisper\nVersion: 20250625\n")
    (records / "top_level.txt").write_text("whisper\n")
    return folder


def converted(room: Path) -> Path:
    """A converted small model, in a new folder of `room`."""
    package = room / "package"
    package.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(write_package(package)))
        convert(write_source(room / "source"), room / "mlx")
    return room / "mlx"
