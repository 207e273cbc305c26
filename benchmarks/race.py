"""Contenders: each a process of its own, loaded once; then all work in turns."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from child import read

from pytorch_to_mlx import environments
from pytorch_to_mlx.audio import Audio

CONTENDERS = Path(__file__).parent / "contenders"
OURS, UPSTREAM, MLX_AUDIO = "pytorch-to-mlx", "upstream PyTorch", "mlx-audio"


@dataclass(frozen=True)
class Contender:
    """How one is started. `streams` if audio comes before all of it is there; `preloads` if it computes in MLX."""

    name: str
    script: str
    environment: str | None
    streams: bool = False
    preloads: bool = True

    @property
    def python(self) -> Path:
        """Its interpreter, whose environment is built if need be."""
        return environments.install(environments.get(self.environment)) if self.environment else Path(sys.executable)

    def variables(self, threads: int) -> dict[str, str]:
        """Its environment variables: as many threads for all, OpenBLAS for MLX alone."""
        kept = environments.environment_of_children()
        counts = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
        preload = {"LD_PRELOAD": openblas()} if self.preloads and openblas() else {}
        return {**kept, **dict.fromkeys(counts, str(threads)), **preload, "MLX_ENABLE_TF32": "0"}


def openblas() -> str:
    """What the Makefile preloads, or this process has preloaded; empty if there is none."""
    found = sorted(Path("/usr/lib").glob("*/openblas-pthread/libopenblas.so.0"))
    return os.environ.get("LD_PRELOAD") or (str(found[0]) if found else "")


class Child:
    """A contender's process.

    Attributes:
        loaded: what it said when it had loaded.
        replies: what it said since.
    """

    def __init__(self, command: Sequence[str | Path], variables: dict[str, str], errors: IO[str]) -> None:
        self._name = Path(command[1]).name
        self._errors = errors
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=variables
        )
        self.replies: list[dict[str, Any]] = []
        self.loaded = self._reply()

    def ask(self, method: str, *arguments: object) -> dict[str, Any]:
        """Have it do something.

        Raises:
            RuntimeError: it failed; the last lines that it printed.
        """
        assert self._process.stdin
        self._process.stdin.write(json.dumps([method, *arguments]) + "\n")
        self._process.stdin.flush()
        self.replies.append(self._reply())
        return self.replies[-1]

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout
        answer = self._process.stdout.readline()
        if not answer:
            self._process.wait()
            self._errors.seek(0)
            raise RuntimeError(f"{self._name} failed:\n{self._errors.read()[-3000:]}")
        return json.loads(answer)


def bandwidth(threads: int) -> float:
    """Bytes a second that memory is read with, the best of a few, by numpy in as many threads."""
    parts = np.split(np.ones(threads << 25, np.float32), threads)
    taken = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(5):
            started = time.perf_counter()
            list(pool.map(np.max, parts))  # what waits for memory alone: a sum computes longer than it reads
            taken.append(time.perf_counter() - started)
    return sum(part.nbytes for part in parts) / min(taken)


@contextmanager
def started(folders: dict[Contender, Path], prompt: Path, text: str, threads: int) -> Iterator[dict[Contender, Child]]:
    """The contenders' processes, loaded one after another from files that were read just before."""
    with ExitStack() as stack:
        children: dict[Contender, Child] = {}
        for contender, folder in folders.items():
            read(folder, folder)
            note(f"{contender.name}: loads")
            setting = {
                "model": str(folder),
                "prompt": str(prompt),
                "text": text,
                "threads": threads,
                "started": time.time(),
            }
            command = [contender.python, CONTENDERS / contender.script, json.dumps(setting)]
            errors = stack.enter_context(tempfile.TemporaryFile("w+"))
            children[contender] = Child(command, contender.variables(threads), errors)
            stack.callback(children[contender].close)
        yield children


def write_prompt(path: Path, seconds: float, rate: int) -> None:
    """A recording like speech: the one that references hear."""
    spec = importlib.util.spec_from_file_location("_seed", environments.SCRIPTS / "_seed.py")
    assert spec and spec.loader
    seed = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(seed)
    Audio(seed.speechlike(3, seconds, rate), rate).write(path)


def note(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
