"""A reference's recording: inputs, noise and taps of upstream, written by a script under `references/`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pytorch_to_mlx.checkpoint import open_checkpoint
from pytorch_to_mlx.errors import ParityError

FORMAT = "parity-recording-1"


@dataclass(frozen=True)
class Case:
    """One input, and what upstream made of it.

    Attributes:
        inputs, noise: what to compute from; randomness is an input.
        taps: upstream's values, in order of execution.
        floor: upstream's float32 error against itself in float64, relative to the tap's largest magnitude.
        alive: measures of how much the case exercises.
    """

    name: str
    inputs: Mapping[str, np.ndarray]
    noise: Mapping[str, np.ndarray]
    taps: Mapping[str, np.ndarray]
    floor: Mapping[str, float]
    alive: Mapping[str, float]


@dataclass(frozen=True)
class Recording:
    """All cases that a reference recorded with one checkpoint."""

    reference: str
    variant: str
    cases: tuple[Case, ...]
    versions: Mapping[str, str]
    checkpoint: str

    @classmethod
    def read(cls, path: Path) -> Recording:
        """Read a recording.

        Raises:
            ParityError: not a recording, or of another format.
        """
        with open_checkpoint(path) as tensors:
            metadata: dict[str, Any] = {}
            for key, text in tensors.metadata.items():
                try:
                    metadata[key] = json.loads(text)
                except ValueError:
                    metadata[key] = text
            if metadata.get("format") != FORMAT:
                raise ParityError(f"{path} is not a parity recording of format {FORMAT}")
            values: dict[str, dict[str, dict[str, np.ndarray]]] = {}
            for full in tensors:
                kind, _, rest = full.partition("/")
                # Names of cases and of taps may have slashes, too.
                case = max((c for c in metadata["order"] if rest.startswith(f"{c}/")), key=len)
                name = rest.removeprefix(f"{case}/")
                values.setdefault(case, {"input": {}, "noise": {}, "tap": {}})[kind][name] = np.array(
                    tensors.read(full)
                )
        cases = []
        for case, order in metadata["order"].items():
            found = values.get(case, {"input": {}, "noise": {}, "tap": {}})
            floor = {k: v["relative"] for k, v in metadata.get("floor", {}).get(case, {}).items()}
            taps = {name: found["tap"][name] for name in order}
            cases.append(Case(case, found["input"], found["noise"], taps, floor, metadata["alive"].get(case, {})))
        return cls(
            metadata["reference"],
            metadata["variant"],
            tuple(cases),
            metadata["versions"],
            metadata["checkpoint"],
        )
