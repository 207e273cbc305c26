"""Recordings of upstream, made on demand and kept in the cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytorch_to_mlx import environments
from pytorch_to_mlx.port import Reference

Note = Callable[[str], None]


@dataclass(frozen=True)
class Originals:
    """What upstream loads: one checkpoint file, or the folder that holds `files`."""

    path: Path
    files: tuple[Path, ...]


def record_reference(
    reference: Reference,
    variant: str,
    *,
    originals: Originals | None = None,
    seed: int | None = None,
    audio: Sequence[str | Path] = (),
    seconds: float | None = None,
    note: Note = lambda line: None,
) -> Path:
    """Run a reference script in its environment; returns its recording, from the cache if nothing changed.

    Give either the `originals` or the `seed` of weights.
    """
    arguments = ["run", "--variant", variant]
    arguments += ["--checkpoint", str(originals.path)] if originals else ["--seed", str(seed or 0)]
    arguments += ["--audio", *(str(Path(a).resolve()) for a in audio)] if audio else []
    arguments += ["--seconds", str(seconds)] if seconds is not None else []
    environment = environments.of_script(reference.script)
    digest = hashlib.sha256(environment.digest.encode())
    for file in (
        *environments.script_files(reference.script),
        *(originals.files if originals else ()),
        *map(Path, audio),
    ):
        with Path(file).open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    digest.update(repr((variant, seed, seconds, [Path(a).stem for a in audio])).encode())
    path = (
        environments.cache_folder()
        / "recordings"
        / f"{reference.script.removesuffix('.py')}-{digest.hexdigest()[:16]}.safetensors"
    )
    if path.exists():
        note(f"upstream ({reference.upstream}) as recorded before, by the same code on the same weights: {path}")
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        environments.install(environment, note)
        note(f"running upstream ({reference.upstream})")
        draft = path.with_suffix(f".{os.getpid()}.partial")
        environments.run(environment, reference.script, [*arguments, "--out", str(draft)])
        draft.replace(path)
    return path
