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
    import shutil
    import textwrap

    width = shutil.get_terminal_size().columns
    for entry in ENTRIES:
        print(f"{entry.name}: {entry.summary}")
        for what, values in (("task", [entry.task]), ("variants", entry.variants), ("sources", entry.sources)):
            line = f"  {what:<9} {', '.join(values)}"
            print(textwrap.fill(line, max(width, 40), subsequent_indent=" " * 12, break_on_hyphens=False))
