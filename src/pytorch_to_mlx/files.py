"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def drafted(output: Path) -> Iterator[Path]:
    """A file beside `output`, of the same suffix, that takes its place only if the block ends well."""
    draft = output.with_name(f".{output.stem}.{os.getpid()}{output.suffix}")
    try:
        yield draft
        draft.replace(output)
    finally:
        draft.unlink(missing_ok=True)
