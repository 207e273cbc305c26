"""`watermark`: mark recordings as synthetic, and tell marked ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytorch_to_mlx.errors import FolderError, UsageError

if TYPE_CHECKING:
    from pytorch_to_mlx.tasks import Watermarker

MARKED = 0.5
"""Upstream rounds."""
SOURCE = "package:resemble-perth"


def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A converted watermarker, or a Chatterbox model.")],
    action: Annotated[str, typer.Argument(metavar="apply|detect", help="Mark one recording, or tell marked ones.")],
    recordings: Annotated[list[Path], typer.Argument(metavar="AUDIO...", help="Recordings of any format and rate.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="apply: audio file to write; the suffix says the format.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="detect: print JSON.")] = False,
) -> None:
    """Mark a recording as synthetic, inaudibly, or tell how surely recordings are marked.

    Chatterbox marks what it says by itself; its own folder serves to tell it.

    Examples:

      pytorch-to-mlx watermark perth-mlx apply speech.wav -o marked.wav

      pytorch-to-mlx watermark chatterbox-mlx detect marked.wav other.flac
    """
    import json

    from pytorch_to_mlx.audio import Audio, naming
    from pytorch_to_mlx.cli.output import check_audio_output, table
    from pytorch_to_mlx.files import drafted

    if action not in ("apply", "detect"):
        raise UsageError(f"{action} is neither apply nor detect")
    if action == "detect" and output is not None:
        raise UsageError(f"--output {output} is for apply; detect prints")
    if action == "apply" and as_json:
        raise UsageError("--json is for detect")
    if action == "apply" and (output is None or len(recordings) != 1):
        raise UsageError("apply marks one recording: name it, and the file to write with --output")
    if output is not None:
        check_audio_output("--output", output, *recordings)
    audio = [Audio.read(path) for path in recordings]
    watermarker = _load(folder)
    if output is not None:
        with naming(recordings[0]):
            marked = watermarker.apply(audio[0])
        with drafted(output) as draft:
            marked.write(draft)
        return
    found: dict[str, float] = {}
    for path, each in zip(recordings, audio, strict=True):
        with naming(path):
            found[str(path)] = watermarker.detect(each)
    if as_json:
        print(json.dumps({name: round(confidence, 4) for name, confidence in found.items()}))
        return
    rows = [(name, f"{value:.3f}", "yes" if value >= MARKED else "no") for name, value in found.items()]
    print(table(rows, ("recording", "confidence", "marked")))


def _load(folder: Path) -> Watermarker:
    """The watermarker of a folder; of a larger model, nothing else is loaded."""
    from pytorch_to_mlx.cli.output import load_model
    from pytorch_to_mlx.components.perth import Perth, PerthWatermarker
    from pytorch_to_mlx.folder import load_weights, read_config
    from pytorch_to_mlx.tasks import Watermarker

    read_config(folder)
    part = "perth."
    weights = [(n.removeprefix(part), array) for n, array in load_weights(folder).items() if n.startswith(part)]
    if not weights:
        return load_model(folder, Watermarker, "watermarker", SOURCE)
    network = Perth()
    try:
        network.load_weights(weights, strict=True)
    except ValueError as error:
        raise FolderError(f"{folder} does not hold its watermarker ({error}); convert it again") from error
    return PerthWatermarker(network)
