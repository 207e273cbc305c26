"""What every reference shares around upstream's code: cases, the recording file, hooks and the command line.

Like `_seed.py` it is no part of the package: references import it from their own folder, in their own environment.
"""

import argparse
import contextlib
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import _seed
import numpy as np
import soundfile
import torch

FORMAT = "parity-recording-1"
SMALL_BYTES = 280_000  # of tensors in a small recording; with its header it stays under 300 KB

Taps = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """One input: a mono recording, (samples,) float32, its rate in Hz, and what else a reference takes with it."""

    name: str
    wav: np.ndarray
    rate: int
    settings: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def speechlike(
        cls, name: str, seed: int, seconds: float, rate: int, loudness: float = 1.0, **settings: float
    ) -> "Case":
        return cls(name, np.float32(loudness) * _seed.speechlike(seed, seconds, rate), rate, settings)

    @classmethod
    def read(cls, path: Path, seconds: float | None, **settings: float) -> "Case":
        """The first `seconds` of a file (all of it if None), channels averaged."""
        wav, rate = soundfile.read(path, dtype="float32", always_2d=True)
        if seconds is not None:
            wav = wav[: round(seconds * rate)]
        return cls(path.stem, np.ascontiguousarray(wav.mean(axis=1)), rate, settings)

    @property
    def inputs(self) -> Taps:
        return {"wav": self.wav, "rate": np.array(self.rate)} | {k: np.array(v) for k, v in self.settings.items()}


class Recording:
    """Inputs, noise and taps of every case with what is known about them, written as one safetensors file."""

    def __init__(
        self, reference: str, variant: str, checkpoint: Path | Sequence[Path], packages: Sequence[str], seed: int | None
    ) -> None:
        versions = {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in packages}
        sha256 = _sha256(checkpoint) if isinstance(checkpoint, Path) else _sha256_together(checkpoint)
        self._metadata: dict[str, Any] = {
            "reference": reference,
            "variant": variant,
            "versions": versions,
            "checkpoint": sha256,
            "order": {},
            "floor": {},
            "alive": {},
        }
        if seed is not None:
            self._metadata["seed"] = seed
        self._tensors: Taps = {}

    def add(
        self,
        case: str,
        *,
        taps: Taps,
        alive: Mapping[str, float],
        exact: Taps | None = None,
        inputs: Mapping[str, np.ndarray] | None = None,
        noise: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Adds a case.

        Args:
            case: its name.
            taps: in execution order.
            alive: measures by which a dead run is known.
            exact: taps, of the same inputs in float64, whose difference from the float32 ones is float32's floor. The
                others are judged by their bar alone.
            inputs: what the network is given.
            noise: named streams in place of random numbers.
        """
        if case in self._metadata["order"]:
            raise SystemExit(f"two cases are named {case!r}: rename one of the recordings")
        for kind, arrays in (("input", inputs or {}), ("noise", noise or {}), ("tap", taps)):
            self._tensors |= {f"{kind}/{case}/{name}": _storable(array) for name, array in arrays.items()}
        self._metadata["order"][case] = list(taps)
        self._metadata["floor"][case] = {
            name: _floor(name, tap, exact[name])
            for name, tap in taps.items()
            if exact and name in exact and np.issubdtype(tap.dtype, np.floating)
        }
        self._metadata["alive"][case] = {measure: round(float(value), 6) for measure, value in alive.items()}

    def describe(self, shapes: Mapping[str, tuple[int, ...]], settings: Mapping[str, Any]) -> None:
        """Keeps what a small network's checkpoint looks like: its tensors' shapes, and its JSON files by name."""
        self._metadata |= {"shapes": shapes, "settings": settings}

    def shrink(self) -> None:
        """Drops the largest taps, one by one, until the file is small enough to be committed."""
        room = SMALL_BYTES - len(json.dumps(self._metadata.get("shapes", {})))
        while sum(array.nbytes for array in self._tensors.values()) > room:
            taps = [name for name in self._tensors if name.startswith("tap/")]
            largest = max(taps, key=lambda name: self._tensors[name].nbytes)
            del self._tensors[largest]
            rest = largest.removeprefix("tap/")
            case = max((c for c in self._metadata["order"] if rest.startswith(f"{c}/")), key=len)
            tap = rest.removeprefix(f"{case}/")
            self._metadata["order"][case].remove(tap)
            self._metadata["floor"][case].pop(tap, None)

    def save(self, path: Path) -> None:
        """Writes the safetensors file. Equal recordings give equal bytes: the library orders metadata at random."""
        metadata = {"format": FORMAT} | {name: json.dumps(value) for name, value in self._metadata.items()}
        header: dict[str, Any] = {"__metadata__": metadata}
        offset = 0
        for name, array in self._tensors.items():
            dtype = {"float32": "F32", "int64": "I64"}[array.dtype.name]
            header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [offset, offset + array.nbytes]}
            offset += array.nbytes
        head = json.dumps(header).encode()
        head += b" " * (-len(head) % 8)
        with path.open("wb") as file:
            file.write(len(head).to_bytes(8, "little") + head)
            for array in self._tensors.values():
                file.write(array.tobytes())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_together(paths: Sequence[Path]) -> str:
    """Of the lines that `sha256sum` prints for the files, sorted by name."""
    lines = [f"{_sha256(path)}  {path.name}\n" for path in sorted(paths, key=lambda path: path.name)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _storable(array: np.ndarray) -> np.ndarray:
    wide = np.float32 if np.issubdtype(array.dtype, np.floating) else np.int64
    return np.asarray(array, wide, order="C")


def _floor(name: str, tap: np.ndarray, exact: np.ndarray) -> dict[str, float]:
    if tap.shape != exact.shape or exact.dtype != np.float64:
        raise SystemExit(f"tap {name}: the float64 run gave {exact.dtype} {exact.shape}, the float32 run {tap.shape}")
    error = float(np.abs(tap - exact).max())
    return {"max_abs": error, "relative": error / max(float(np.abs(exact).max()), np.finfo(np.float64).tiny)}


def numpy(tensor: torch.Tensor) -> np.ndarray:
    """A copy that later in-place changes to the tensor do not reach."""
    return tensor.detach().cpu().numpy().copy()


@contextlib.contextmanager
def observed(owner: Any, name: str, observe: Callable[..., None]) -> Iterator[None]:
    """Within the block, each call of `owner.name` is followed by `observe(result, *args)`."""
    with replaced(owner, name, lambda original: _followed(original, observe)):
        yield


@contextlib.contextmanager
def replaced(owner: Any, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """Within the block, `owner.name` is `make(the original)`."""
    original = getattr(owner, name)
    setattr(owner, name, make(original))
    try:
        yield
    finally:
        setattr(owner, name, original)


def _followed(function: Callable[..., Any], observe: Callable[..., None]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        observe(result, *args)
        return result

    return call


@contextlib.contextmanager
def hooked(module: torch.nn.Module, observe: Callable[[Any], None]) -> Iterator[None]:
    """Within the block, each output of `module` is passed to `observe`."""
    handle = module.register_forward_hook(lambda _module, _args, output: observe(output))
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Within the block, torch makes floating-point tensors of this dtype from Python numbers."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def nearest_distance(outputs: Sequence[np.ndarray]) -> float:
    """The Euclidean distance between the two of `outputs` that are closest: 0 when different inputs give one output."""
    pairs = [(a, b) for i, a in enumerate(outputs) for b in outputs[:i]]
    return min(float(np.linalg.norm(a - b)) for a, b in pairs)


def arguments(description: str, variants: Sequence[str], parts: Sequence[str] = ()) -> argparse.Namespace:
    """Parses the command line of a reference: `run`, perhaps of some `parts` only, and `export`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="run upstream and write a recording")
    weights = run.add_mutually_exclusive_group(required=True)
    weights.add_argument("--checkpoint", type=Path, help="upstream's own file, or its repository's folder")
    weights.add_argument("--seed", type=int, help="seeded weights, loaded through upstream's format like a checkpoint")
    run.add_argument("--audio", type=Path, nargs="+", default=[], help="recordings, one case each, named by their stem")
    run.add_argument("--seconds", type=float, help="use no more than this much of each recording")
    run.add_argument("--small", action="store_true", help="under 300 KB: short built-in cases, largest taps left out")
    if parts:
        run.add_argument("--parts", type=lambda text: text.split(","), help=f"some, by commas, of {', '.join(parts)}")
    export = verbs.add_parser("export", help="write a checkpoint of seeded weights in upstream's format")
    export.add_argument("--seed", type=int, default=0)
    for verb in (run, export):
        verb.add_argument("--variant", choices=variants, required=True)
        verb.add_argument("--out", type=Path, required=True)
    parsed = parser.parse_args()
    if parsed.verb == "run" and parsed.small and parsed.audio:
        parser.error("--small has its own cases: leave out --audio")
    if parsed.verb == "run" and parts and (unknown := set(parsed.parts or ()) - set(parts)):
        parser.error(f"--parts {', '.join(sorted(unknown))}: there are {', '.join(parts)}")
    if parsed.verb == "run":
        for path in [*parsed.audio, *filter(None, [parsed.checkpoint])]:
            if not path.exists():
                parser.error(f"{path}: no such file")
    return parsed
