"""Runs the command line in processes of its own, on seeded models and recordings."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from small_ports import SEED, Tensors, crepe_tensors, safetensors_file, voice_encoder_tensors

from pytorch_to_mlx import Audio, cli, convert

RATE = 16000
Arguments = tuple[str | Path, ...]
Done = subprocess.CompletedProcess[str]


def command(*arguments: str | Path, **options: Any) -> Done:
    words = [sys.executable, "-m", "pytorch_to_mlx", *map(str, arguments)]
    return subprocess.run(words, text=True, timeout=120, **{"stdout": -1, "stderr": -1, **options})


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """The exit status of a command within this process."""
    monkeypatch.setattr(sys, "argv", ["pytorch-to-mlx", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def succeed(*arguments: str | Path) -> str:
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def at_once(calls: dict[str, Arguments]) -> dict[str, Done]:
    """The outcome of each call, as many at a time as there are cores."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(calls, pool.map(lambda arguments: command(*arguments), calls.values()), strict=True))


class Room(NamedTuple):
    """Where everything lies; `path` has files of every kind that a command may be given."""

    path: Path
    tensors: Tensors

    @property
    def crepe(self) -> Path:
        return self.path / "crepe"

    @property
    def voices(self) -> Path:
        return self.path / "voices"

    @property
    def checkpoint(self) -> Path:
        return self.path / "ve.safetensors"

    def wav(self, seed: int) -> Path:
        return self.path / f"{seed}.wav"


def make_room(path: Path) -> Room:
    """Two models of seeded weights, their checkpoints and recordings."""
    tensors = voice_encoder_tensors()
    found = Room(path, tensors)
    safetensors_file(found.checkpoint, tensors)
    convert(str(found.checkpoint), found.voices)
    convert(str(safetensors_file(path / "tiny.safetensors", crepe_tensors())), found.crepe)
    for seed, rate in ((1, RATE), (2, RATE), (3, 8000)):
        Audio(SEED.speechlike(seed, 3.0, rate), rate).write(found.wav(seed))
    Audio(SEED.speechlike(1, 0.1, RATE), RATE).write(path / "short.wav")
    return found
