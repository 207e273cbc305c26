"""The recordings that a workload names, from a folder of them or made up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pytorch_to_mlx import environments
from pytorch_to_mlx.benchmark.contender import SCRIPTS
from pytorch_to_mlx.benchmark.workload import Item
from pytorch_to_mlx.errors import AudioError, BenchmarkError

RATE = 24000


def find(item: Item, folder: Path | None, made: Path) -> Path:
    """An item's recording: in `folder` if one is given, else made up, in `made`.

    Raises:
        AudioError: the folder lacks it.
        BenchmarkError: none could be made up.
    """
    if folder is not None:
        path = folder / item.recording
        if not path.is_file():
            raise AudioError(
                f"{path}: no such recording, which the workload names; leave out --recordings to make it up"
            )
        return path
    path = made / f"{item.name}.wav"
    if not path.exists():
        write_speechlike(path, item.seconds, RATE)
    return path


def write_speechlike(path: Path, seconds: float, rate: int) -> None:
    """A recording like speech: the one that references hear.

    Raises:
        BenchmarkError: it could not be written.
    """
    # Like the references, what makes it is run by path.
    paths = os.pathsep.join([str(environments.SCRIPTS), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, SCRIPTS / "speechlike.py", path, str(seconds), str(rate)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"{path} could not be made up: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
