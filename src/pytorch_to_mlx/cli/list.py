"""`list`: which models are known by name."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the models that can be converted by name, their variants and where their weights are found.

    Example:

      pytorch-to-mlx list --json
    """
    from pytorch_to_mlx.registry import ENTRIES

    if as_json:
        import dataclasses
        import json

        print(json.dumps([dataclasses.asdict(entry) for entry in ENTRIES], indent=2))
        return
    from pytorch_to_mlx.cli.output import table

    rows = [(e.name, e.task, ", ".join(e.variants), ", ".join(e.sources), e.summary) for e in ENTRIES]
    print(table(rows, ("MODEL", "TASK", "VARIANTS", "SOURCES", "WHAT")))
