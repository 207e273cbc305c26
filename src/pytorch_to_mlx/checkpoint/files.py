"""Files from strangers: which may be opened, how they are mapped, and how their failures are told."""

import json
import mmap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from typing import Any

from pytorch_to_mlx.errors import CheckpointError, PytorchToMlxError, UnsafeFileError

_REPOSITORY_KINDS = ("models--", "datasets--", "spaces--")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """The one place where a failure on a file's bytes becomes a `CheckpointError` that names the file."""
    try:
        yield
    except PytorchToMlxError as error:
        raise type(error)(f"{path}: {error}") from error
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error}); mend that and try again") from error
    except BaseException as error:  # a panic of the Rust safetensors library is not an Exception
        reason = (str(error).strip().splitlines() or ["no details"])[0][:300]
        raise CheckpointError(
            f"{path}: damaged or not a supported checkpoint ({type(error).__name__}: {reason}); "
            "fetch the file again or save it again"
        ) from error


def map_file(path: Path) -> mmap.mmap:
    """Map a regular file read-only. The map lives as long as any array that views it."""
    if not path.is_file():  # opening a named pipe would wait for ever
        raise CheckpointError("not a regular file")
    if path.stat().st_size == 0:
        raise CheckpointError("the file is empty; fetch it again")
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def parse_json(text: bytes) -> dict[str, Any]:
    """A JSON object in which no name occurs twice: two readers could each believe another one of the two."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise CheckpointError(f"the name {name!r} occurs twice")
            found[name] = value
        return found

    parsed = json.loads(text, object_pairs_hook=unique)
    if not isinstance(parsed, dict):
        raise CheckpointError("expected a JSON object")
    return parsed


def member(folder: Path, name: str) -> Path:
    """The file `name` of a checkpoint folder, as named by the folder's own (untrusted) contents.

    `name` must be a plain relative path. A symbolic link may stay inside the folder; in a Hub cache, where
    every file of `snapshots/<revision>/` is a link, it may also end in the blob store of that cache.

    Raises:
        UnsafeFileError: the path leaves the folder.
        CheckpointError: there is no such file.
    """
    # Windows rules see every separator and drive there is, so a name is refused alike on all systems.
    windows = PureWindowsPath(name)
    if not name or "\\" in name or "\0" in name or windows.drive or windows.root or ".." in windows.parts:
        raise UnsafeFileError(f"names the file {name!r}, which is not a plain path inside the folder")
    path = folder / name
    target = path.resolve()
    if not any(target.is_relative_to(root) for root in _roots(folder.resolve())):
        raise UnsafeFileError(f"the file {name!r} is a link that leaves the folder; replace it by the file itself")
    if not path.exists():
        raise CheckpointError(f"the file {name!r} is missing; fetch the checkpoint again")
    return path


def _roots(folder: Path) -> Iterator[Path]:
    """The folders in which files of the (resolved) checkpoint folder may lie."""
    yield folder
    for revision in (folder, *folder.parents):
        repository = revision.parent.parent
        if revision.parent.name == "snapshots" and repository.name.startswith(_REPOSITORY_KINDS):
            stores = [repository / "blobs"]
            # huggingface_hub >= 2 may share blobs between the repositories of a cache, and marks that store.
            if (repository.parent / "blobs" / ".huggingface-shared-blobs").is_file():
                stores.append(repository.parent / "blobs")
            yield from (store for store in stores if not store.is_symlink())


def some(names: Iterable[str]) -> str:
    """The first names of what may be many, sorted, for a message of one line."""
    ordered = sorted(names)
    shown = ", ".join(repr(name) for name in ordered[:5])
    return shown if len(ordered) <= 5 else f"{shown} and {len(ordered) - 5} more"
