"""`cache`: what narrations keep, listed, verified and removed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytorch_to_mlx.errors import UsageError

if TYPE_CHECKING:
    from pytorch_to_mlx.service.cache import ResultCache

EPILOG = """Examples:

  pytorch-to-mlx cache list

  pytorch-to-mlx cache prune --cache-limit 2GB
"""

app = typer.Typer(no_args_is_help=True, help="What narrations keep, so that no line is computed twice.", epilog=EPILOG)
CacheOption = Annotated[
    Path | None, typer.Option("--cache", help="Folder of what was said; that of this machine if not given.")
]
LimitOption = Annotated[str, typer.Option("--cache-limit", help="What it may take; the least used goes first.")]

BROKEN = 1
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def open_cache(folder: Path | None, limit: str | None = None) -> ResultCache:
    """The cache of a folder.

    Raises:
        UsageError: the limit is no size.
        CacheError: the folder cannot hold one.
    """
    from pytorch_to_mlx.service.cache import LIMIT, ResultCache
    from pytorch_to_mlx.service.job import results_folder

    return ResultCache(folder or results_folder(), LIMIT if limit is None else size_of(limit))


def _existing(folder: Path | None, limit: str | None = None) -> ResultCache:
    """As `open_cache`, but a folder that is named must hold a cache already."""
    if folder is not None and not (folder / "index.sqlite").is_file():
        raise UsageError(f"--cache {folder}: holds no cache")
    return open_cache(folder, limit)


def size_of(text: str) -> int:
    """Bytes of a size such as 500MB. Raises `UsageError` if it is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)B?", text.strip())
    if found is None:
        raise UsageError(f"--cache-limit {text}: write a size such as 500MB or 10GB")
    return round(float(found[1]) * _UNITS[found[2]])


@app.command("list")
def list_entries(cache: CacheOption = None) -> None:
    """Every entry, the one that was used last first.

    Example:

      pytorch-to-mlx cache list
    """
    from datetime import datetime

    from pytorch_to_mlx.cli.output import size_text, table

    entries = _existing(cache).entries()
    rows = []
    for entry in entries:
        used = datetime.fromtimestamp(entry.used).strftime("%Y-%m-%d %H:%M")
        rows.append((entry.key[:12], size_text(entry.bytes), used, str(entry.about.get("said", ""))[:60]))
    if rows:
        print(table(rows, ("key", "size", "last used", "says")))
    print(f"{len(entries)} entries, {size_text(sum(entry.bytes for entry in entries))}")


@app.command()
def verify(cache: CacheOption = None) -> None:
    """Read every entry; those that are not what was written are removed (exit 1), and made again when asked for.

    Example:

      pytorch-to-mlx cache verify
    """
    held = _existing(cache)
    count = len(held.entries())
    broken = held.verify()
    for key in broken:
        print(f"broken, and removed: {key[:12]}")
    print(f"{count - len(broken)} of {count} entries are whole")
    if broken:
        raise typer.Exit(BROKEN)


@app.command()
def prune(cache: CacheOption = None, cache_limit: LimitOption = "10GB") -> None:
    """Remove what was used least recently until the rest takes so much, and what killed jobs left behind.

    Example:

      pytorch-to-mlx cache prune --cache-limit 2GB
    """
    print(f"{_existing(cache, cache_limit).prune()} entries removed")


@app.command()
def clear(cache: CacheOption = None) -> None:
    """Remove every entry.

    Example:

      pytorch-to-mlx cache clear
    """
    print(f"{_existing(cache).clear()} entries removed")
