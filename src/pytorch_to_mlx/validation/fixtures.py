"""Fixtures for ports to other languages: what upstream is given and what it computes on the way, with a manifest."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from pytorch_to_mlx import environments
from pytorch_to_mlx.errors import FolderError
from pytorch_to_mlx.parity import INFO, Bar, Case, Recording
from pytorch_to_mlx.port import Port, Stage
from pytorch_to_mlx.validation.recordings import Originals, record_reference
from pytorch_to_mlx.validation.stages import check_alive

Note = Callable[[str], None]

FORMAT = "port-fixtures-1"
MEANING = {
    "relative": "largest error / largest magnitude of the tap <= limit, or <= floors x floor where both are given;"
    " where `of` names a tap, limit is of that one's magnitude if it is larger",
    "decibels": "10 log10 of the tap's energy / the error's energy >= limit",
    "cents": "largest distance in cents <= limit, in frames where the tap `where` exceeds `above`",
    "exact": "equal integers; a difference counts as a tie where the two `candidates`, or a number"
    " of `rounded` and where it rounds otherwise, are as close as float32 can tell",
    "info": "reported, not judged",
}
README = """# Fixtures of {model} ({variant})

What {upstream} computes from seeded weights, layer by layer, for whoever ports it to another language.

- `checkpoint/` has the weights in upstream's own file format and at full size. They are random numbers, shaped so that
  the networks are alive; they sound like nothing.
- `manifest.json` lists the cases and, of each, every tensor: its name, shape, dtype, layout and tolerance.
- `CASE.safetensors` holds the tensors of one case: `input/...`, `noise/...` (what upstream drew at random, to be
  replayed) and `tap/...` (what upstream computed, in order). Floats are float32, integers int64, little-endian.

For each case: load the weights, feed inputs and noise, compare each tap in order, and stop at the first that its
tolerance refuses: the fault lies between it and the tap before. docs/fixtures.md of pytorch-to-mlx tells more.
"""


def export_fixtures(port: Port, variant: str, folder: Path, *, seed: int = 0, note: Note = lambda line: None) -> None:
    """Write a seeded checkpoint in upstream's format, and upstream's inputs, noise and taps with a manifest.

    Args:
        port: the model.
        variant: which weights.
        folder: where to; must not exist yet, or be empty.
        seed: of the weights.
        note: called with a line at each step.

    Raises:
        FolderError: the folder holds something.
        UpstreamError: the reference failed.
        ParityError: its recording is dead.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FolderError(f"{folder} is not empty; export to a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        originals = _export_checkpoint(port, variant, folder / "checkpoint", seed, note)
        recorded = Recording.read(record_reference(port.reference, variant, originals=originals, note=note))
        check_alive(recorded, port.reference)
        cases = [case for case in recorded.cases if case.taps]
        for case in cases:
            path = folder / f"{case.name}.safetensors"
            path.parent.mkdir(exist_ok=True)
            save_file(_tensors(case), path)
        described = manifest(port, recorded, cases, seed, originals)
        (folder / "manifest.json").write_text(_a_line_each(described), encoding="utf-8")
        told = README.format(model=port.name, variant=variant, upstream=port.reference.upstream)
        (folder / "README.md").write_text(told, encoding="utf-8")
    except BaseException:
        shutil.rmtree(folder)
        raise


def manifest(port: Port, recorded: Recording, cases: list[Case], seed: int, originals: Originals) -> dict[str, Any]:
    """What `manifest.json` says; `docs/fixtures.md` explains it."""
    return {
        "format": FORMAT,
        "model": port.name,
        "variant": recorded.variant,
        "upstream": port.reference.upstream,
        "versions": dict(recorded.versions),
        "seed": seed,
        "checkpoint": {"sha256": recorded.checkpoint, "files": [_within(path, originals) for path in originals.files]},
        "tolerances": MEANING,
        "cases": [_described(case, port.reference.stage(case.name)) for case in cases],
    }


def _export_checkpoint(port: Port, variant: str, folder: Path, seed: int, note: Note) -> Originals:
    """Seeded weights as the reference writes them: one file, named as the port looks for it, or a folder."""
    note("writing seeded weights")
    parts = [part for part in port.variants[variant].parts if not part.package]
    folder.mkdir()
    path = folder if len(parts) > 1 else folder / Path(parts[0].files[0]).name
    arguments = ["export", "--variant", variant, "--seed", str(seed), "--out", str(path)]
    environments.run_script(port.reference.script, arguments, note)
    return Originals(path, tuple(sorted(file for file in folder.rglob("*") if file.is_file())))


def _within(file: Path, originals: Originals) -> str:
    """The file's name in the checkpoint's folder."""
    return file.relative_to(originals.path).as_posix() if originals.path.is_dir() else file.name


def _a_line_each(described: dict[str, Any]) -> str:
    """JSON with a line for each tensor."""
    return re.sub(r"\n {5,}|\n {4}(?=[]}])", " ", json.dumps(described, indent=1)) + "\n"


def _tensors(case: Case) -> dict[str, np.ndarray]:
    return {f"{role}/{name}": np.array(value, order="C") for role, name, value in _all(case)}


def _all(case: Case) -> list[tuple[str, str, np.ndarray]]:
    roles: Mapping[str, Mapping[str, np.ndarray]] = {"input": case.inputs, "noise": case.noise, "tap": case.taps}
    return [(role, name, value) for role, values in roles.items() for name, value in values.items()]


def _described(case: Case, stage: Stage) -> dict[str, Any]:
    tensors = []
    for role, name, value in _all(case):
        entry: dict[str, Any] = {"name": f"{role}/{name}", "shape": list(value.shape), "dtype": value.dtype.name}
        if role == "tap":
            if layout := stage.layout(name):
                entry["layout"], entry["mlx_layout"] = layout.split("->")
            if stage.leads(name):
                entry["leading"] = True
            entry["tolerance"] = _tolerance(stage.bar("float32", name) or INFO, case.floor.get(name))
        tensors.append(entry)
    return {
        "name": case.name,
        "file": f"{case.name}.safetensors",
        "network": stage.network,
        "alive": dict(case.alive),
        "tensors": tensors,
    }


def _tolerance(bar: Bar, floor: float | None) -> dict[str, Any]:
    kept = {"relative": ("limit", "floors", "of"), "decibels": ("limit",), "cents": ("limit", "where", "above")}
    kept |= {"exact": ("candidates", "rounded")}
    told = {field: getattr(bar, field) for field in kept.get(bar.kind, ()) if getattr(bar, field)}
    return {"kind": bar.kind} | told | ({} if floor is None else {"floor": floor})
