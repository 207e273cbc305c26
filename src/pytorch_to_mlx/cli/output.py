"""What commands share: files to write, aligned columns, and progress on standard error."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pytorch_to_mlx.errors import UsageError, printable

if TYPE_CHECKING:
    from pytorch_to_mlx.conversion import Progress


Task = TypeVar("Task")
NO_BACKEND = (
    "MLX has no backend here; install one: pip install 'mlx[cpu]', or 'mlx[cuda13]' for an NVIDIA GPU (macOS: mlx)"
)


def lacks_mlx(error: Exception) -> bool:
    """Whether MLX, or the library of its backend, could not be loaded."""
    return isinstance(error, ImportError) and bool(re.search(r"\b(lib)?mlx\b", f"{error.name} {error}"))


def table(rows: Sequence[Sequence[str]], head: Sequence[str] = ()) -> str:
    """Rows as aligned columns."""
    lines = [tuple(map(printable, line)) for line in ([head, *rows] if head else rows)]
    if not lines:
        return ""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def check_output(flag: str, path: Path | None, *read: Path | None) -> None:
    """Refuse a file to write whose folder is missing, or that is read too, before the work rather than after it."""
    if path is None:
        return
    if not path.parent.is_dir():
        raise UsageError(f"{flag} {path}: there is no folder {path.parent}; create it first")
    if any(path.resolve() == other.resolve() for other in read if other is not None):
        raise UsageError(f"{flag} {path}: is read, and would be written over; name another file")


def check_audio_output(flag: str, path: Path, *read: Path | None) -> None:
    """As `check_output`, and refuse a suffix that is no format of audio."""
    from pytorch_to_mlx.audio import file_format

    check_output(flag, path, *read)
    file_format(path)


def load_model(folder: Path, task: type[Task], what: str, source: str) -> Task:
    """The model of a folder, which must be for a task.

    Raises:
        UsageError: it is for another; `what` names the task, `source` what to convert for it.
    """
    from pytorch_to_mlx.loading import load

    model = load(folder)
    if not isinstance(model, task):
        raise UsageError(f"{folder} holds no {what}; convert one with: pytorch-to-mlx convert {source}")
    return model


def note(line: str) -> None:
    """A line about what is going on, on standard error."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def bytes_progress(title: str) -> Iterator[Progress]:
    """A progress bar in bytes that appears only if the work takes over a second."""
    from tqdm import tqdm

    with tqdm(desc=title, unit="B", unit_scale=True, delay=1, disable=not sys.stderr.isatty()) as bar:

        def advance(name: str, done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield advance


@contextmanager
def count_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar for what is counted now, once that takes over two seconds."""
    from tqdm import tqdm

    bar, counted = tqdm(disable=True), ""

    def advance(what: str, done: int, total: int) -> None:
        nonlocal bar, counted
        if what != counted:
            bar.close()
            hidden = not sys.stderr.isatty()
            bar, counted = tqdm(desc=what, total=total, initial=done, delay=2, leave=False, disable=hidden), what
        bar.total = total
        bar.update(done - bar.n)

    try:
        yield advance
    finally:
        bar.close()


def shape_text(shape: Sequence[int] | None) -> str:
    """A shape as people write it: `1024x256`."""
    return "" if shape is None else "x".join(map(str, shape)) or "scalar"


def size_text(count: float) -> str:
    """A number of bytes with a unit."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
