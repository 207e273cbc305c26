"""Writing beside a target and swapping it in, so that a killed or failed write leaves the target as it was.

Beside `NAME` stands, while somebody writes, one hidden folder `.NAME.converting` with at most three things:

    lock    held with flock by the writer that lives; the system lets go of it when that process dies
    new     what is being written; after the swap, what stood at the target before
    old     the journal of a swap in steps: exists only between its first and its last rename

The names alone say what to do about the remains of a killed writer: where the target is gone and `old` is
there, `old` goes back; everything else is garbage. There is no journal to read, so none can be half-written.
"""

import ctypes
import errno
import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType

from pytorch_to_mlx.errors import FolderError

_WAY_OUT = {
    errno.ENOSPC: "free some space there, or write to another disk",
    errno.EDQUOT: "free some space there, or write to another disk",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f), or write to another disk",
    errno.EACCES: "write to a folder that is yours",
    errno.EPERM: "write to a folder that is yours",
    errno.EROFS: "write to a folder that is yours",
}
_NO_EXCHANGE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


class Workspace:
    """The hidden folder beside `target`, held by one writer. Entering it settles what a killed writer left.

    Raises:
        FolderError: the parent folder is missing or not writable, or another writer lives.
    """

    def __init__(self, target: Path) -> None:
        self.target = target.resolve()  # a link stays, and what it leads to is replaced
        self._folder = self.target.parent / f".{self.target.name}.converting"
        self.new = self._folder / "new"
        self._old = self._folder / "old"
        self._descriptor: int | None = None

    @property
    def interrupted(self) -> bool:
        """Whether a swap in steps was killed while the target was away."""
        return not self.target.exists() and self._old.exists()

    def __enter__(self) -> "Workspace":
        if not self.target.parent.is_dir():
            raise FolderError(f"{self.target.parent}: there is no such folder: create it first")
        with os_errors_named(self.target.parent):
            self._descriptor = self._acquire()
        if self._descriptor is None:
            raise FolderError(f"{self.target}: is being written by another process: wait until that ends")
        try:
            self._settle()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # What cannot be removed is left to the next writer; the failure that led here says more.
            with suppress(FolderError) if error else nullcontext():
                self._settle()
        finally:
            self._release()

    def swap_in(self) -> None:
        """Put `new`, which is durable already, in the target's place, durably.

        Raises:
            OSError: it could not be done; leaving the workspace puts the target back.
        """
        if not self.target.exists():
            self.new.rename(self.target)
        elif not _exchange(self.new, self.target):
            self.target.rename(self._old)
            self.new.rename(self.target)
            self._old.rename(self.new)
        sync_folder(self.target.parent)
        sync_folder(self._folder)

    def _acquire(self) -> int | None:
        while True:
            self._folder.mkdir(exist_ok=True)
            # The last holder may remove the folder between these two lines.
            with suppress(FileNotFoundError):
                return lock(self._folder / "lock")

    def _settle(self) -> None:
        try:
            if self.interrupted:
                self._old.rename(self.target)
                sync_folder(self.target.parent)
            if self.new.exists():
                shutil.rmtree(self.new)
            if self._old.exists():
                self._old.rename(self.new)  # `old` must never name a folder that is half removed
                shutil.rmtree(self.new)
        except OSError as error:
            raise FolderError(f"{self._folder}: cannot be removed ({error.strerror}): remove it") from error

    def _release(self) -> None:
        assert self._descriptor is not None
        with suppress(OSError):  # the next writer removes what is left
            (self._folder / "lock").unlink()
            self._folder.rmdir()
        os.close(self._descriptor)


def undo_interrupted(target: Path) -> None:
    """Put `target` back where a swap in steps was killed while it was away, else do nothing.

    Raises:
        FolderError: it cannot be put back, or the swap is under way.
    """
    workspace = Workspace(target)
    if workspace.interrupted:
        with workspace:
            pass


def lock(path: Path) -> int | None:
    """An open descriptor of `path`, made where missing, locked; None while another holder lives.

    Raises:
        OSError: it cannot be made, or the file system has no locks.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                # The last holder may have removed or renamed the file between our open and our lock.
                if os.path.samestat(os.fstat(descriptor), path.lstat()):
                    return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable. Some network file systems cannot, and say so with EINVAL."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


@contextmanager
def os_errors_named(path: Path) -> Iterator[None]:
    """Turn an OSError inside into a FolderError that names `path` and the way out."""
    try:
        yield
    except OSError as error:
        way_out = _WAY_OUT.get(error.errno or 0, "write to another folder")
        raise FolderError(f"{path}: cannot be written ({error.strerror}): {way_out}") from error


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one atomic step; False where the system or the file system has no such step."""
    libc = ctypes.CDLL(None, use_errno=True)
    one, two = os.fsencode(first), os.fsencode(second)
    try:
        if sys.platform == "darwin":
            failed = libc.renamex_np(one, two, 2)  # RENAME_SWAP
        else:
            failed = libc.renameat2(-100, one, -100, two, 2)  # AT_FDCWD, RENAME_EXCHANGE
    except AttributeError:
        return False
    if not failed:
        return True
    number = ctypes.get_errno()
    if number in _NO_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(second))
