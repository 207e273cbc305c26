"""validate(): a model folder against the upstream PyTorch code, tap by tap, live."""

from __future__ import annotations

import hashlib
import math
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from pytorch_to_mlx import environments, registry
from pytorch_to_mlx.errors import AudioError, FolderError, ParityError, UsageError
from pytorch_to_mlx.folder import FolderConfig, read_config, replace_file, with_parity
from pytorch_to_mlx.loading import load
from pytorch_to_mlx.matching import match
from pytorch_to_mlx.parity import Bar, Case, Recording, compare_tap, recording
from pytorch_to_mlx.port import Reference
from pytorch_to_mlx.report import CaseResult, Controls, ParityReport, TapResult
from pytorch_to_mlx.weights import Layout

# Read at MLX's first operation; without it CUDA and the newest Apple GPUs keep 10 bits of mantissa in float32 products.
os.environ.setdefault("MLX_ENABLE_TF32", "0")

Note = Callable[[str], None]
TOGETHER = "all"
PERTURBATION = 0.01


def validate(
    folder: str | Path,
    *,
    source: str | None = None,
    audio: Sequence[str | Path] = (),
    seconds: float | None = None,
    controls: bool = True,
    offline: bool = False,
    note: Note = lambda line: None,
) -> ParityReport:
    """Compare a model folder with upstream, write `parity.json` and the card's section, and report.

    Args:
        folder: a folder that `convert` wrote.
        source: where the PyTorch checkpoint is now, if it came from a local file or folder.
        audio: recordings to compare on, besides the reference's own.
        seconds: how much of each recording to use.
        controls: perturb every parameter in turn; each must move a tap.
        offline: take Hub repositories from the cache only.
        note: called with a line at each step.

    Raises:
        PytorchToMlxError: the check cannot be carried out. A model that fails the check is no error: see the report.
    """
    path = Path(folder)
    config = read_config(path)
    _check_arguments(path, audio, seconds)
    port = registry.get(config.model_type)
    mode = precision(config)
    if mode not in port.reference.bars:
        raise UsageError(f"{port.name} declares no bar for {mode}; validate one of {', '.join(port.reference.bars)}")
    checkpoint = _checkpoint(config, source, offline)
    recorded = Recording.read(
        record_reference(port.reference, config.variant, checkpoint=checkpoint, audio=audio, seconds=seconds, note=note)
    )
    check_alive(recorded, port.reference)
    note("computing the same with MLX")
    model = load(path)
    cases = compare(model, recorded, port.reference, mode)
    checked = None
    if controls and all(case.first_divergence is None for case in cases):
        note("perturbing each parameter in turn")
        checked = check_controls(model, recorded, port.reference, mode)
    report = ParityReport(
        model_type=port.name,
        variant=config.variant,
        mode=mode,
        reference=port.reference.upstream,
        upstream=recorded.versions,
        checkpoint=recorded.checkpoint,
        system=_system(),
        cases=tuple(cases),
        controls=checked,
    )
    replace_file(path, "parity.json", report.to_json())
    card = path / "README.md"
    if card.is_file():
        replace_file(path, "README.md", with_parity(card.read_text(encoding="utf-8"), report.markdown()).encode())
    return report


def _check_arguments(path: Path, audio: Sequence[str | Path], seconds: float | None) -> None:
    """What would otherwise fail only after minutes of work."""
    if not os.access(path, os.W_OK):
        raise FolderError(f"{path} is read-only, and parity.json goes there; make it writable")
    if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
        raise UsageError(f"--seconds {seconds:g} is no length of a recording")
    for file in audio:
        if not Path(file).is_file():
            raise AudioError(f"--audio {file}: no such file")


def _system() -> dict[str, str]:
    return {
        "mlx": version("mlx"),
        "device": str(mx.default_device().type).split(".")[-1],
        "machine": platform.machine(),
        "TF32": "off" if os.environ["MLX_ENABLE_TF32"] == "0" else "on",
    }


def precision(config: FolderConfig) -> str:
    """The mode whose bars count: the dtype, or the bits of quantization."""
    return config.dtype if config.quantization is None else f"{config.quantization['bits']}-bit"


def _checkpoint(config: FolderConfig, source: str | None, offline: bool) -> Path:
    recorded = config.source
    if source is None:
        if recorded.kind in ("file", "folder"):
            raise UsageError(
                f"the model comes from the local {recorded.kind} {recorded.location}; say where it is with --source"
            )
        source = f"package:{recorded.location}" if recorded.kind == "package" else recorded.location
    revision = recorded.revision if recorded.kind == "hub" and source == recorded.location else None
    found = match(source, port=config.model_type, variant=config.variant, revision=revision, offline=offline)
    return next(iter(found.files.values()))


def record_reference(
    reference: Reference,
    variant: str,
    *,
    checkpoint: Path | None = None,
    seed: int | None = None,
    audio: Sequence[str | Path] = (),
    seconds: float | None = None,
    note: Note = lambda line: None,
) -> Path:
    """Run a reference script in its environment; returns its recording, from the cache if nothing changed.

    Give either upstream's `checkpoint` or the `seed` of weights.
    """
    arguments = ["run", "--variant", variant]
    arguments += ["--checkpoint", str(checkpoint)] if checkpoint else ["--seed", str(seed or 0)]
    arguments += ["--audio", *(str(Path(a).resolve()) for a in audio)] if audio else []
    arguments += ["--seconds", str(seconds)] if seconds is not None else []
    environment = environments.of_script(reference.script)
    digest = hashlib.sha256(environment.digest.encode())
    for file in (
        *environments.script_files(reference.script),
        *([checkpoint] if checkpoint else []),
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
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        environments.install(environment, note)
        note(f"running upstream ({reference.upstream})")
        draft = path.with_suffix(f".{os.getpid()}.partial")
        environments.run(environment, reference.script, [*arguments, "--out", str(draft)])
        draft.replace(path)
    return path


def check_alive(recorded: Recording, reference: Reference) -> None:
    """Refuse a recording that exercises too little.

    Raises:
        ParityError: names the case and the measure.
    """
    for measure, least in reference.alive.items():
        measured = {case.name: case.alive[measure] for case in recorded.cases if measure in case.alive}
        if not measured:
            raise ParityError(
                f"the reference {recorded.reference} records no {measure}, by which its cases are judged alive"
            )
        for case, value in measured.items():
            if value < least:
                raise ParityError(f"case {case} is dead: {measure} is {value:g}, at least {least:g} is needed")


def compute(model: Any, recorded: Recording, case: Case, reference: Reference) -> dict[str, np.ndarray]:
    """Our taps of one case, under our names."""
    wanted = {_our_name(name, reference) for name in case.taps}
    with recording(model.network, wanted.__contains__) as tape:
        if case.name == TOGETHER and reference.together is not None:
            reference.together(model, [other.inputs for other in recorded.cases if other.name != TOGETHER])
        else:
            reference.run(model, case.inputs, case.noise)
    return tape.taps


def compare(model: Any, recorded: Recording, reference: Reference, mode: str) -> list[CaseResult]:
    """Compute and compare every case."""
    return list(_compared(model, recorded, [case for case in recorded.cases if case.taps], reference, mode))


def _compared(
    model: Any, recorded: Recording, cases: Sequence[Case], reference: Reference, mode: str
) -> Iterator[CaseResult]:
    for case in cases:
        taps = _compare_case(compute(model, recorded, case, reference), case, reference, mode)
        yield CaseResult(case.name, tuple(taps), case.alive)


def check_controls(model: Any, recorded: Recording, reference: Reference, mode: str) -> Controls:
    """Perturb each parameter in turn; one that moves no tap of any case past its bar is named."""
    # The cheapest case first: it notices nearly everything.
    cases = sorted((c for c in recorded.cases if c.taps), key=lambda c: c.name != reference.control_case)
    names = [name for name, _ in tree_flatten(model.network.parameters())]
    unmoved: list[str] = []
    for name in names:
        with _perturbed(model.network, name):
            if all(case.first_divergence is None for case in _compared(model, recorded, cases, reference, mode)):
                unmoved.append(name)
    return Controls(len(names), tuple(unmoved))


@contextmanager
def _perturbed(network: nn.Module, name: str) -> Iterator[None]:
    """Within the block, the parameter `name` is off by noise of 1 % of each value."""
    original = dict(tree_flatten(network.parameters()))[name]
    scale = mx.abs(original.astype(mx.float32))
    scale = mx.where(scale == 0, mx.where(scale.max() > 0, scale.max(), 1.0), scale)
    noise = mx.random.normal(original.shape, key=mx.random.key(len(name)))
    if original.dtype == mx.uint32:
        changed = original ^ 1
    else:
        changed = (original.astype(mx.float32) + PERTURBATION * scale * noise).astype(original.dtype)
    network.load_weights([(name, changed)], strict=False)
    try:
        yield
    finally:
        network.load_weights([(name, original)], strict=False)


def _compare_case(ours: Mapping[str, np.ndarray], case: Case, reference: Reference, mode: str) -> Iterator[TapResult]:
    pairs: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    compared: dict[str, str] = {}
    for name, theirs in case.taps.items():
        key = _our_name(name, reference)
        if key not in ours:
            raise ParityError(f"case {case.name}: our side records no tap {key} (upstream's {name})")
        mine = ours[key]
        layout = next((v for pattern, v in reference.layouts.items() if fnmatchcase(name, pattern)), None)
        theirs = Layout(layout).apply(theirs) if layout else theirs
        if any(fnmatchcase(name, pattern) for pattern in reference.leading) and len(theirs) < len(mine):
            compared[name] = f"first {len(theirs)} of {len(mine)}"
            mine = mine[: len(theirs)]
        pairs[name] = (mine, theirs)
    for name, (mine, theirs) in pairs.items():
        bar = next((b for p, b in reference.bars[mode].items() if fnmatchcase(name, p)), Bar("info"))
        scope = name.rpartition("/")[0]
        near = {k.removeprefix(f"{scope}/") if scope else k: v for k, v in pairs.items()}
        yield compare_tap(
            name, mine, theirs, bar, floor=case.floor.get(name), compared=compared.get(name, ""), others=near
        )


def _our_name(name: str, reference: Reference) -> str:
    return reference.names.get(name, name)
