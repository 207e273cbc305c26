"""`list`: which models are known by name."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, which programs read.")] = False,
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
    import functools
    import shutil
    import textwrap

    width = max(shutil.get_terminal_size().columns, 40)
    fill = functools.partial(textwrap.fill, width=width, break_on_hyphens=False, break_long_words=False)
    for entry in ENTRIES:
        print(fill(f"{entry.name}: {entry.summary}", subsequent_indent="  "))
        for what, values in (("task", [entry.task]), ("variants", entry.variants), ("sources", entry.sources)):
            print(fill(f"  {what:<9} {', '.join(values)}", subsequent_indent=" " * 12))
