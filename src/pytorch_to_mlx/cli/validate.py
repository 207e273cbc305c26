"""`validate`: a model folder against the upstream PyTorch code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pytorch_to_mlx.cli.inspect import OfflineOption


def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `convert` wrote.")],
    source: Annotated[
        str | None,
        typer.Option(help="Where the PyTorch checkpoint is, if it came from a local file or folder."),
    ] = None,
    audio: Annotated[list[Path] | None, typer.Option(help="A recording to compare on too; may be repeated.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Use at most this much of each recording.")] = None,
    controls: Annotated[
        bool, typer.Option(help="Perturb each parameter in turn, to see that the check notices.")
    ] = True,
    html: Annotated[Path | None, typer.Option(help="Write the report as one HTML file.")] = None,
    offline: OfflineOption = False,
) -> None:
    """Compare a converted model with the upstream PyTorch code, tap by tap, and write parity.json into its folder.

    Upstream runs in an environment of its own, which is built on first use. Exit status 1: the model differs.

    Examples:

      pytorch-to-mlx validate crepe-mlx

      pytorch-to-mlx validate crepe-mlx --audio speech.wav --seconds 5 --html parity.html
    """
    from pytorch_to_mlx.cli.output import check_output, count_progress, note, table
    from pytorch_to_mlx.report import error_text, limit_text, nearest_of_stages, worst_taps
    from pytorch_to_mlx.validation import validate

    check_output("--html", html)
    with count_progress() as progress:
        report = validate(
            folder,
            source=source,
            audio=audio or (),
            seconds=seconds,
            controls=controls,
            offline=offline,
            note=note,
            progress=progress,
        )
    rows = [
        (
            tap.name,
            case,
            error_text(tap),
            limit_text(tap),
            "" if tap.floor is None else f"{tap.floor:.1e}",
            f"{tap.correlation:.7f}",
            "" if tap.kind == "info" else "ok" if tap.passed else "DIFFERS",
        )
        for case, tap in nearest_of_stages(worst_taps(report))
    ]
    print(table(rows, ("TAP", "WORST CASE", "ERROR", "ALLOWED", "UPSTREAM'S OWN", "CORRELATION", "")))
    print(report.summary())
    if html:
        from pytorch_to_mlx.presentation.html import parity_html

        html.write_text(parity_html(report), encoding="utf-8")
        note(f"wrote {html}")
    if not report.passed:
        raise typer.Exit(1)
