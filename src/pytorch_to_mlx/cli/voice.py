"""`embed` and `similarity`: what a speaker encoder is for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytorch_to_mlx.errors import AudioError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from pytorch_to_mlx.audio import Audio
    from pytorch_to_mlx.tasks import SpeakerEncoder

FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="A converted speaker encoder.")]
RecordingsArgument = Annotated[
    list[Path], typer.Argument(metavar="AUDIO...", help="Recordings of any format and rate.")
]


def embed(
    folder: FolderArgument,
    recordings: RecordingsArgument,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write a .npy (one row each) or .json file instead of printing."),
    ] = None,
    speaker: Annotated[
        bool, typer.Option("--speaker", help="One embedding for all recordings, which are of one speaker.")
    ] = False,
) -> None:
    """Turn recordings into speaker embeddings: unit vectors that are close where voices are alike.

    Examples:

      pytorch-to-mlx embed voice-encoder-mlx anna.wav -o anna.npy

      pytorch-to-mlx embed voice-encoder-mlx take1.flac take2.flac --speaker
    """
    import json

    import numpy as np

    from pytorch_to_mlx.cli.output import check_output

    check_output("--output", output)
    if output is not None and output.suffix not in (".npy", ".json"):
        raise UsageError(f"--output {output}: write .npy or .json")
    model = _load(folder)
    audio = _read(recordings)
    vectors = np.stack([_speaker(model, recordings, audio)] if speaker else _each(model, recordings, audio))
    names = ["speaker"] if speaker else [str(path) for path in recordings]
    if output is not None and output.suffix == ".npy":
        np.save(output, vectors)
        return
    text = json.dumps({name: vector.tolist() for name, vector in zip(names, vectors, strict=True)})
    if output is None:
        print(text)
    else:
        output.write_text(text, encoding="utf-8")


def similarity(folder: FolderArgument, recordings: RecordingsArgument) -> None:
    """Print how alike the voices of recordings are: 1 for the same voice, less for others.

    Example:

      pytorch-to-mlx similarity voice-encoder-mlx anna.wav ben.wav carla.wav
    """
    from pytorch_to_mlx.cli.output import table

    if len(recordings) < 2:
        raise UsageError("similarity needs at least two recordings")
    model = _load(folder)
    vectors = _each(model, recordings, _read(recordings))
    rows = [
        (path.name, *(f"{model.similarity(a, b):.3f}" for b in vectors))
        for path, a in zip(recordings, vectors, strict=True)
    ]
    print(table(rows, ("", *(path.name for path in recordings))))


def _load(folder: Path) -> SpeakerEncoder:
    from pytorch_to_mlx.cli.output import load_model
    from pytorch_to_mlx.tasks import SpeakerEncoder

    return load_model(folder, SpeakerEncoder, "speaker encoder", "package:resemblyzer")


def _read(recordings: list[Path]) -> list[Audio]:
    from pytorch_to_mlx.audio import Audio

    return [Audio.read(path) for path in recordings]


def _each(model: SpeakerEncoder, recordings: list[Path], audio: list[Audio]) -> list[np.ndarray]:
    from pytorch_to_mlx.audio import naming

    vectors = []
    for path, each in zip(recordings, audio, strict=True):
        with naming(path):
            vectors.append(model.embed(each))
    return vectors


def _speaker(model: SpeakerEncoder, recordings: list[Path], audio: list[Audio]) -> np.ndarray:
    try:
        return model.embed_speaker(audio)
    except AudioError:
        _each(model, recordings, audio)  # names the recording at fault
        raise
