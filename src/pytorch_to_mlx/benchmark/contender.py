"""Who is measured: this project at each model, and what it is measured against.

A contender is a script in `contenders/`, run by path in its own environment. To add one, write the script on `serving`
and name it here; environments are pinned in `references/environments.toml`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from pytorch_to_mlx import environments
from pytorch_to_mlx.environments import Environment

SCRIPTS = Path(__file__).parent / "contenders"
OURS, UPSTREAM, MLX_AUDIO, MLX_WHISPER = "pytorch-to-mlx", "upstream PyTorch", "mlx-audio", "mlx-whisper"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(frozen=True)
class Contender:
    """One implementation of a model, and how it is started.

    Attributes:
        name: in tables.
        script: in `contenders/`.
        environment: which it runs in; None for ours.
        streams: whether output comes before all of it is there.
        preloads: whether it computes in MLX, which takes OpenBLAS on Linux; PyTorch is never timed with it.
        variants: patterns of those that it knows.
        dtypes: that it computes in.
        converter: the script, and its environment, that makes its files of upstream's (`convert CHECKPOINT FOLDER
            DTYPE`); None where it loads upstream's.
        remarks: what is not as in the others, without a stop.
    """

    name: str
    script: str
    environment: str | None = None
    streams: bool = False
    preloads: bool = True
    variants: tuple[str, ...] = ("*",)
    dtypes: tuple[str, ...] = ("float32",)
    converter: tuple[str, str] | None = None
    remarks: tuple[str, ...] = ()

    @property
    def python(self) -> Path:
        """Its interpreter, whose environment is built if need be."""
        return environments.install(environments.get(self.environment)) if self.environment else Path(sys.executable)

    @property
    def missing(self) -> Environment | None:
        """The environment that would have to be built first, if any."""
        needed = [self.environment, self.converter[1] if self.converter else None]
        return next((found for name in needed if name and not (found := environments.get(name)).installed), None)

    def variables(self, threads: int) -> dict[str, str]:
        """Its environment variables: as many threads for all, OpenBLAS for MLX alone."""
        kept = environments.environment_of_children() if self.environment else {**os.environ}
        kept.pop("LD_PRELOAD", None)
        preload = {"LD_PRELOAD": openblas()} if self.preloads and openblas() else {}
        return {**kept, **dict.fromkeys(THREADS, str(threads)), **preload, "MLX_ENABLE_TF32": "0"}

    def files(self, checkpoint: Path, folder: Path, dtype: str) -> Path:
        """What it loads: upstream's checkpoint, or what its converter makes of it, in `folder`.

        Raises:
            UpstreamError: the converter's environment cannot be built, or it failed.
        """
        if self.converter is None:
            return checkpoint
        script, name = self.converter
        environment = environments.get(name)
        environments.install(environment)
        environments.run(environment, SCRIPTS / script, ["convert", str(checkpoint), str(folder), dtype])
        return folder

    def unfit(self, variant: str, dtype: str) -> str:
        """Why it cannot be compared with a folder of that variant and dtype; empty if it can."""
        if not any(fnmatchcase(variant, pattern) for pattern in self.variants):
            return f"it does not run {variant}, only {', '.join(self.variants)}"
        if dtype not in self.dtypes:
            return f"it computes in {' or '.join(self.dtypes)}, the folder in {dtype}; convert one with --dtype float32"
        return ""


def openblas() -> str:
    """The BLAS that this process has preloaded, or what the Makefile preloads; empty if there is none."""
    preloaded = [path for path in re.split("[ :]", os.environ.get("LD_PRELOAD", "")) if "blas" in Path(path).name]
    found = sorted(map(str, Path("/usr/lib").glob("*/openblas-pthread/libopenblas.so.0")))
    return next(iter([*preloaded, *found]), "")


OF_TASK = {"text to speech": "speech_ours.py", "transcription": "transcription_ours.py"}
"""Ours, by the methods of a task."""

OF_PORT: Mapping[str, str] = {
    "chatterbox": "chatterbox_ours.py",
    "kokoro": "kokoro_ours.py",
    "qwen3_tts": "qwen3_tts_ours.py",
    "qwen3_tts_tokenizer_25hz": "qwen3_25hz_ours.py",
    "whisper": "whisper_ours.py",
}
"""Ours, where a port's stages are told."""

OTHERS: Mapping[str, Mapping[str, Contender]] = {
    "chatterbox": {
        "pytorch": Contender(UPSTREAM, "chatterbox_upstream.py", "synthesis", preloads=False, variants=("english",)),
        "mlx-audio": Contender(
            MLX_AUDIO,
            "chatterbox_mlx_audio.py",
            "mlx-audio",
            variants=("english",),
            converter=("chatterbox_mlx_audio.py", "mlx-audio"),
            remarks=("it applies no watermark, which the others do",),
        ),
    },
    "kokoro": {
        "pytorch": Contender(
            UPSTREAM, "kokoro_upstream.py", "kokoro", streams=True, preloads=False, variants=("v1.0",)
        ),
        "mlx-audio": Contender(
            MLX_AUDIO,
            "kokoro_mlx_audio.py",
            "mlx-audio",
            streams=True,
            variants=("v1.0",),
            converter=("kokoro_upstream.py", "kokoro"),
        ),
    },
    "qwen3_tts": {
        "pytorch": Contender(
            UPSTREAM,
            "qwen3_tts_upstream.py",
            "synthesis",
            preloads=False,
            variants=("*-base",),
            dtypes=("float32", "bfloat16"),
        ),
        "mlx-audio": Contender(
            MLX_AUDIO,
            "qwen3_tts_mlx_audio.py",
            "mlx-audio",
            streams=True,
            variants=("*-base",),
            dtypes=("float32", "bfloat16"),
            converter=("qwen3_tts_mlx_audio.py", "mlx-audio"),
            remarks=(
                "it prepares no voice: its first synthesis encodes the recording, later ones hear its speaker again",
                "to time frames, each is evaluated once more than by itself, and counts before its code predictor",
            ),
        ),
    },
    "qwen3_tts_tokenizer_25hz": {
        "pytorch": Contender(UPSTREAM, "qwen3_25hz_upstream.py", "synthesis", preloads=False),
    },
    "whisper": {
        "pytorch": Contender(UPSTREAM, "whisper_upstream.py", "whisper", streams=True, preloads=False),
        "mlx-whisper": Contender(
            MLX_WHISPER,
            "whisper_mlx_whisper.py",
            "mlx-whisper",
            streams=True,
            dtypes=("float32", "float16"),
            converter=("whisper_upstream.py", "whisper"),
        ),
    },
}
"""What a port is measured against, by the names that `--against` takes."""


def ours(port: str, task: str, name: str = OURS) -> Contender:
    """This project at a port that has one of the benchmarks' tasks, or a script of its own."""
    return Contender(name, OF_PORT.get(port) or OF_TASK[task], streams=True)


def contenders(port: str) -> dict[str, Contender]:
    """All at a port that has a script of its own, ours first."""
    return {"ours": ours(port, ""), **OTHERS[port]}
