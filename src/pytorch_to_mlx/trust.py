"""Which captured sources may run: those that this machine's own capture wrote, by their hash in a local store."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from pytorch_to_mlx.errors import FolderError, UnsafeFileError

STORE = "PYTORCH_TO_MLX_TRUSTED"
_MAX_BYTES = 2**24


def store() -> Path:
    """The file that lists trusted hashes, one a line; the environment's PYTORCH_TO_MLX_TRUSTED names another."""
    if STORE in os.environ:
        return Path(os.environ[STORE])
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "pytorch-to-mlx" / "trusted-sources"


def trust(source: bytes) -> None:
    """Let this source run on this machine from now on.

    Raises:
        FolderError: the store cannot be written.
    """
    if is_trusted(source):
        return
    path = store()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.open("a", encoding="ascii") as file:
            file.write(f"{_hash(source)}\n")
    except OSError as error:
        raise FolderError(f"{path} cannot be written ({error.strerror}); set {STORE} to another file") from error


def is_trusted(source: bytes) -> bool:
    """Whether this machine's capture wrote this source."""
    try:
        return _hash(source) in store().read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        return False


def read_source(path: Path, *, trusted: bool) -> bytes:
    """The source in a file, if it may run.

    Raises:
        UnsafeFileError: this machine did not write it, and nobody said that it is trusted.
        FolderError: it is missing, or too large to be what capture writes.
    """
    try:
        if path.is_symlink() or not path.is_file():
            raise FolderError(f"{path} is missing; capture the model again")
        with path.open("rb") as file:
            source = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise FolderError(f"{path} cannot be read ({error.strerror})") from error
    if len(source) > _MAX_BYTES:
        raise FolderError(f"{path} is larger than {_MAX_BYTES} bytes; capture the model again")
    if not trusted and not is_trusted(source):
        raise UnsafeFileError(
            f"{path} is Python source that was not captured on this machine, so it is not run: "
            "read it, then load the folder with trust=True"
        )
    return source


def _hash(source: bytes) -> str:
    return hashlib.sha256(source).hexdigest()
