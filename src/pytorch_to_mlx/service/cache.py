"""What was computed before, by the hash of all that it depends on: files, and an index of them.

    index.sqlite          a row for each entry: key, bytes, checksum, when it was last used, what it is
    entries/ab/abcd...    the file of the key abcd...
    locks/abc.lock        held with flock by the process that computes a key abc...; the system lets go when that dies
    drafts/               files that are being written

An entry is a file that was written whole and then moved into place, and after that a row. So a writer that is killed
leaves a draft, or a file without a row, neither of which is an entry; `prune` removes them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from pytorch_to_mlx.errors import CacheError, FolderError
from pytorch_to_mlx.files import drafted

LIMIT = 10 * 10**9
"""Bytes that entries may take together, unless another limit is asked for."""
NOT_COMPUTED_WITH = {"README.md", "parity.json"}
ROOM = 0.9
"""How much of the limit is filled after entries had to go: so they go many at a time."""
TABLES = (
    """create table if not exists entries (
        key text primary key, bytes integer not null, checksum text not null,
        made real not null, used real not null, about text not null
    )""",
    "create table if not exists checksums (path text primary key, stamp text not null, checksum text not null)",
)


@dataclass(frozen=True)
class Entry:
    """One result.

    Attributes:
        key: the hash of what it depends on.
        bytes: of its file.
        made, used: seconds of the epoch.
        about: what whoever put it there tells of it.
    """

    key: str
    bytes: int
    made: float
    used: float
    about: Mapping[str, Any]


class _DamagedError(Exception):
    """A file is not what was written."""


def folder_hash(folder: Path, cache: ResultCache) -> str:
    """Of all bytes that a model computes with. Raises `FolderError` if there is no such folder."""
    if not (folder / "config.json").is_file():
        raise FolderError(f"{folder}: holds no converted model; make one with: pytorch-to-mlx convert")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    files = [path for path in files if path.name not in NOT_COMPUTED_WITH]
    told = [(str(path.relative_to(folder)), cache.checksum(path)) for path in files]
    return hashlib.sha256(repr(told).encode()).hexdigest()


def key_of(**parts: Any) -> str:
    """The key of a result that depends on these, which are JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class ResultCache:
    """Files by key, shared by any number of processes on one machine.

    Args:
        folder: where they are kept; made if need be.
        limit: bytes that they may take together: those that were used least recently go first.

    Raises:
        CacheError: the folder cannot be used, or its index is damaged.
    """

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self.folder, self.limit = folder, limit
        try:
            for name in ("entries", "locks", "drafts"):
                (folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CacheError(f"{folder}: cannot hold a cache ({error.strerror}); choose another folder") from error
        with self._index() as index:
            for table in TABLES:
                index.execute(table)

    def fetch(self, key: str, target: Path) -> Mapping[str, Any] | None:
        """Copy an entry to `target`, which is replaced whole; returns what is told of it, or None where there is none.

        An entry whose file is missing or no longer what was written is forgotten, and there is none.
        """
        with self._index() as index:
            row = index.execute("select checksum, about from entries where key = ?", (key,)).fetchone()
        if row is None:
            return None
        try:
            with self._path(key).open("rb") as source, drafted(target) as draft:
                with draft.open("wb") as copy:
                    shutil.copyfileobj(source, copy)
                if _checksum(draft) != row[0]:
                    raise _DamagedError
        except (FileNotFoundError, _DamagedError) as error:
            if not target.parent.is_dir():
                raise CacheError(f"{target.parent}: is no folder any more; make it again") from error
            self.forget(key, row[0])
            return None
        with self._index() as index:
            index.execute("update entries set used = ? where key = ?", (time.time(), key))
        return json.loads(row[1])

    def store(self, key: str, write: Callable[[Path], object], about: Mapping[str, Any]) -> None:
        """Keep what `write` puts into the file that it is given."""
        with tempfile.TemporaryDirectory(dir=self.folder / "drafts", prefix=f"{key}-") as room:
            draft = Path(room) / "entry"
            write(draft)
            self._keep(key, draft, about)

    @contextmanager
    def claimed(self, keys: Iterable[str], *, wait: bool = False) -> Iterator[set[str]]:
        """Within the block no other process computes the keys that are given out.

        Args:
            keys: what is missing, and about to be computed.
            wait: for a process that computes one of them; otherwise that key is not given out, and there is no wait
                that could have two processes wait for each other.
        """
        free: set[str] = set()
        with contextlib.ExitStack() as held:
            for name, alike in groupby(sorted(keys), key=_lock_of):
                if held.enter_context(self._alone(name, wait)):
                    free |= set(alike)
            yield free

    def checksum(self, path: Path) -> str:
        """Of a file's bytes, read once for as long as its size and time stay the same.

        Raises:
            FolderError: it cannot be read.
        """
        try:
            told = path.stat()
            if not stat.S_ISREG(told.st_mode):
                raise FolderError(f"{path}: is no file")
            stamp = f"{told.st_ino} {told.st_size} {told.st_mtime_ns}"
            with self._index() as index:
                row = index.execute(
                    "select checksum from checksums where path = ? and stamp = ?", (str(path.resolve()), stamp)
                ).fetchone()
            if row:
                return row[0]
            found = _checksum(path)
        except OSError as error:
            raise FolderError(f"{path}: cannot be read ({error.strerror})") from error
        with self._index() as index:
            index.execute("insert or replace into checksums values (?, ?, ?)", (str(path.resolve()), stamp, found))
        return found

    def entries(self) -> list[Entry]:
        """All of them, the one that was used last first."""
        with self._index() as index:
            rows = index.execute("select key, bytes, made, used, about from entries order by used desc").fetchall()
        return [Entry(key, size, made, used, json.loads(about)) for key, size, made, used, about in rows]

    def verify(self) -> list[str]:
        """The keys of entries that were not what was written, which are forgotten."""
        with self._index() as index:
            rows = index.execute("select key, checksum from entries").fetchall()
        wrong = [(key, checksum) for key, checksum in rows if _checksum_or_none(self._path(key)) != checksum]
        return [key for key, checksum in wrong if self.forget(key, checksum)]

    def prune(self, limit: int | None = None) -> int:
        """Remove what was used least recently until the rest takes `limit` bytes, and what killed writers left.

        Returns:
            How many entries were removed.
        """
        removed = self._evict(self.limit if limit is None else limit)
        known = {entry.key for entry in self.entries()}
        left = {path: path.name for path in (self.folder / "entries").glob("*/*") if path.name not in known}
        left |= {path: path.name.partition("-")[0] for path in (self.folder / "drafts").iterdir()}
        for path, key in left.items():
            with self.claimed([key]) as free:  # whoever writes it still lives where it is not
                if free and path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                elif free and key not in {entry.key for entry in self.entries()}:
                    path.unlink(missing_ok=True)
        return removed

    def clear(self) -> int:
        """Remove every entry; returns how many there were."""
        with self._index() as index:
            index.execute("delete from checksums")
        return self.prune(limit=0)

    def forget(self, key: str, checksum: str | None = None) -> bool:
        """Remove an entry; one that was made anew since, and has another checksum, stays. Whether it was there."""
        with self._index() as index:
            gone = index.execute(
                "delete from entries where key = ? and checksum = coalesce(?, checksum)", (key, checksum)
            )
        if gone.rowcount:
            self._path(key).unlink(missing_ok=True)
        return bool(gone.rowcount)

    def _evict(self, limit: int) -> int:
        """Remove what was used least recently until the rest takes `limit` bytes."""
        running = "select key, sum(bytes) over (order by used desc, key) as upto from entries"
        with self._index() as index:
            index.execute("begin immediate")
            victims = [key for (key,) in index.execute(f"select key from ({running}) where upto > ?", (limit,))]
            index.executemany("delete from entries where key = ?", [(key,) for key in victims])
        for key in victims:
            self._path(key).unlink(missing_ok=True)
        return len(victims)

    def _keep(self, key: str, draft: Path, about: Mapping[str, Any]) -> None:
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        row = (key, draft.stat().st_size, _checksum(draft), time.time(), time.time(), json.dumps(about))
        path = self._path(key)
        path.parent.mkdir(exist_ok=True)
        draft.replace(path)
        with self._index() as index:
            index.execute("insert or replace into entries values (?, ?, ?, ?, ?, ?)", row)
            (total,) = index.execute("select sum(bytes) from entries").fetchone()
        if total > self.limit:
            self._evict(max(round(ROOM * self.limit), row[1]))

    def _path(self, key: str) -> Path:
        return self.folder / "entries" / key[:2] / key

    @contextmanager
    def _index(self) -> Iterator[sqlite3.Connection]:
        """A connection of this moment: none outlives a fork, and every change is durable when it ends."""
        try:
            connection = sqlite3.connect(self.folder / "index.sqlite", timeout=60)
            with contextlib.closing(connection), connection:
                yield connection
        except sqlite3.OperationalError as error:  # locked, full, read-only
            raise CacheError(f"{self.folder / 'index.sqlite'}: {error}; mend that, or choose another folder") from error
        except sqlite3.DatabaseError as error:
            raise CacheError(
                f"{self.folder / 'index.sqlite'}: {error}; remove the folder, or choose another"
            ) from error

    @contextmanager
    def _alone(self, name: str, wait: bool) -> Iterator[bool]:
        """Whether the lock of that name is held by this process alone within the block."""
        with (self.folder / "locks" / f"{name}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True


def _lock_of(key: str) -> str:
    """Keys share 4096 locks, so that there are not as many files as there ever were keys."""
    return key[:3]


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checksum_or_none(path: Path) -> str | None:
    try:
        return _checksum(path)
    except OSError:
        return None
