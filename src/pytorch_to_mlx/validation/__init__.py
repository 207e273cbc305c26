"""validate(): a model folder against the upstream PyTorch code, tap by tap, live."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from pytorch_to_mlx import registry
from pytorch_to_mlx.checkpoint import open_checkpoint
from pytorch_to_mlx.errors import AudioError, FolderError, UsageError
from pytorch_to_mlx.folder import FolderConfig, read_config, replace_file, with_parity
from pytorch_to_mlx.loading import load
from pytorch_to_mlx.matching import match
from pytorch_to_mlx.parity import Recording
from pytorch_to_mlx.parity.system import system
from pytorch_to_mlx.report import ParityReport
from pytorch_to_mlx.validation.recordings import Originals, record_reference
from pytorch_to_mlx.validation.stages import Progress, check_alive, check_controls, compare, silent

Note = Callable[[str], None]


def validate(
    folder: str | Path,
    *,
    source: str | None = None,
    audio: Sequence[str | Path] = (),
    seconds: float | None = None,
    controls: bool | Callable[[str], bool] = True,
    offline: bool = False,
    note: Note = lambda line: None,
    progress: Progress = silent,
) -> ParityReport:
    """Compare a model folder with upstream, write `parity.json` and the card's section, and report.

    Args:
        folder: a folder that `convert` wrote.
        source: where the PyTorch checkpoint is now, if it came from a local file or folder.
        audio: recordings to compare on, besides the reference's own.
        seconds: how much of each recording to use.
        controls: perturb every parameter in turn, or those that it is true of; each must move a tap.
        offline: take Hub repositories from the cache only.
        note: called with a line at each step.
        progress: called for each case that is compared and each parameter that is perturbed.

    Raises:
        PytorchToMlxError: the check cannot be carried out. A model that fails the check is no error: see the report.
    """
    path = Path(folder)
    config = read_config(path)
    _check_arguments(path, audio, seconds)
    port = registry.get(config.model_type)
    if config.variant in port.imports:
        originals = port.imports[config.variant].base_model or "the originals"
        raise UsageError(f"{path} is an import, which lacks what upstream would load; convert and validate {originals}")
    mode = precision(config)
    modes = port.reference.modes
    if mode not in modes:
        raise UsageError(f"{port.name} declares no bar for {mode}; validate one of {', '.join(modes)}")
    recorded = recorded_upstream(config, source=source, audio=audio, seconds=seconds, offline=offline, note=note)
    check_alive(recorded, port.reference)
    note("computing the same with MLX")
    model = load(path)
    cases = compare(model, recorded, port.reference, mode, progress=progress)
    checked = None
    if controls and all(case.first_divergence is None for case in cases):
        note("perturbing each parameter in turn")
        only = controls if callable(controls) else lambda name: True
        checked = check_controls(model, recorded, port.reference, mode, only=only, progress=progress)
    report = ParityReport(
        model_type=port.name,
        variant=config.variant,
        mode=mode,
        reference=port.reference.upstream,
        upstream=recorded.versions,
        checkpoint=recorded.checkpoint,
        system=system(),
        cases=tuple(cases),
        controls=checked,
    )
    replace_file(path, "parity.json", report.to_json())
    card = path / "README.md"
    if card.is_file():
        replace_file(path, "README.md", with_parity(card.read_text(encoding="utf-8"), report.markdown()).encode())
    return report


def recorded_upstream(
    config: FolderConfig,
    *,
    source: str | None = None,
    audio: Sequence[str | Path] = (),
    seconds: float | None = None,
    offline: bool = False,
    note: Note = lambda line: None,
) -> Recording:
    """What upstream computes from the originals of a model folder; the arguments are those of `validate`."""
    reference, originals = registry.get(config.model_type).reference, find_originals(config, source, offline)
    return Recording.read(
        record_reference(reference, config.variant, originals=originals, audio=audio, seconds=seconds, note=note)
    )


def _check_arguments(path: Path, audio: Sequence[str | Path], seconds: float | None) -> None:
    """What would otherwise fail only after minutes of work."""
    if not os.access(path, os.W_OK):
        raise FolderError(f"{path} is read-only, and parity.json goes there; make it writable")
    if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
        raise UsageError(f"--seconds {seconds:g} is no length of a recording")
    for file in audio:
        if not Path(file).is_file():
            raise AudioError(f"--audio {file}: no such file")


def precision(config: FolderConfig) -> str:
    """The mode whose bars count: the dtype, or the bits of quantization."""
    return config.dtype if config.quantization is None else f"{config.quantization['bits']}-bit"


def find_originals(config: FolderConfig, source: str | None, offline: bool) -> Originals:
    """What upstream would load of a model folder's originals; the arguments are those of `validate`.

    Raises:
        UsageError: they came from a local file or folder, and `source` does not tell where it is.
        SourceError, CheckpointError: they cannot be had, or hold another model.
    """
    recorded = config.source
    if source is None:
        if recorded.kind in ("file", "folder"):
            raise UsageError(
                f"the model comes from the local {recorded.kind} {recorded.location}; say where it is with --source"
            )
        source = f"package:{recorded.location}" if recorded.kind == "package" else recorded.location
    revision = recorded.revision if recorded.kind == "hub" and source == recorded.location else None
    found = match(source, port=config.model_type, variant=config.variant, revision=revision, offline=offline)
    own: list[Path] = []
    for prefix, path in found.files.items():
        if prefix not in found.packaged:
            with open_checkpoint(path) as checkpoint:
                own += [path, *checkpoint.files]  # an index, and what it tells of
    own = list(dict.fromkeys(own))
    files = [*own, *(path for files in found.assets.values() for path in files.values())]
    if found.variant.settings:
        settings = found.variant.settings
        told = (found.source.path / name for name in (*settings.files, *settings.helpful))
        files += [path for path in told if path.is_file()]
    return Originals(own[0] if len(files) == 1 else found.source.path, tuple(dict.fromkeys(files)))


__all__ = [
    "Originals",
    "check_alive",
    "check_controls",
    "compare",
    "precision",
    "record_reference",
    "recorded_upstream",
    "validate",
]
