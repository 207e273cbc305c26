"""Writes a model folder: everything into a folder beside the target, made durable, then swapped in whole."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path, PurePosixPath
from types import TracebackType

import numpy as np

from pytorch_to_mlx.errors import FolderError
from pytorch_to_mlx.folder.config import is_model_folder
from pytorch_to_mlx.folder.shards import Shard, index_of, plan_shards
from pytorch_to_mlx.folder.workspace import Workspace, lock, os_errors_named, sync_folder
from pytorch_to_mlx.weights import TensorSpec

MAX_SHARD_BYTES = 5 * 10**9
_CHUNK_BYTES = 1 << 20  # in one call: 64 MB cost 1.4 times the processor time, because they leave its cache


class FolderWriter:
    """Writes the model folder `target`, which stays as it was until the `with` block ends well.

    An existing target is replaced only with `force`, and only if it is a model folder of this program.
    Each file is written once, straight to disk, and tensors one at a time: nothing is kept in memory.

    Raises:
        FolderError: the target exists, cannot be written, or is being written by another process.
    """

    def __init__(self, target: Path, *, force: bool) -> None:
        self._target = target
        self._force = force
        self._workspace = Workspace(target)
        self._exits = ExitStack()

    def __enter__(self) -> "FolderWriter":
        with ExitStack() as exits:
            exits.enter_context(self._workspace)
            self._check_target()
            with os_errors_named(self._target):
                self._workspace.new.mkdir()
            exits.push(self._commit)
            self._exits = exits.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.__exit__(kind, error, trace)

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write the file `name`, a path inside the folder with `/` between its parts.

        Raises:
            FolderError: the name leaves the folder or is taken, or the disk does not take it.
        """
        with self._new_file(name) as descriptor, os_errors_named(self._target / name):
            _write_at(descriptor, memoryview(data), 0)

    def write_tensors(
        self,
        specs: Sequence[TensorSpec],
        tensors: Iterable[tuple[str, np.ndarray]],
        max_shard_bytes: int = MAX_SHARD_BYTES,
    ) -> None:
        """Write model.safetensors, or shards of at most `max_shard_bytes` each and their index.

        Args:
            specs: every tensor's name, shape and dtype, before any data is asked for.
            tensors: the same tensors in the same order. Each is written from its own buffer (of a copy where
                it is not contiguous) and let go before the next is asked for.
            max_shard_bytes: the most data in one file, unless a single tensor is larger.

        Raises:
            FolderError: the two disagree, a name occurs twice, MLX has not the dtype, or the disk is full.
        """
        shards = plan_shards(specs, max_shard_bytes)
        announced, arrays = iter(specs), iter(tensors)
        for shard in shards:
            self._write_shard(shard, announced, arrays)
        for name, _ in arrays:
            raise FolderError(f"{name}: is a tensor that was not announced")
        if len(shards) > 1:
            self.write_bytes("model.safetensors.index.json", index_of(shards))

    def _write_shard(
        self, shard: Shard, announced: Iterator[TensorSpec], arrays: Iterator[tuple[str, np.ndarray]]
    ) -> None:
        path = self._target / shard.file
        with self._new_file(shard.file) as descriptor:
            with os_errors_named(path):
                _write_at(descriptor, memoryview(shard.header), 0)
            for _ in shard.starts:
                spec = next(announced)
                data = _bytes_of(spec, next(arrays, None))  # failures of the source pass through
                with os_errors_named(path):
                    _write_at(descriptor, data, shard.starts[spec.name])
                del data  # else this tensor is kept while the next is made

    def _check_target(self) -> None:
        target = self._workspace.target
        if not target.exists():
            return
        if not target.is_dir():
            raise FolderError(f"{self._target}: is a file: choose another folder")
        if not is_model_folder(target):
            raise FolderError(f"{self._target}: is no model folder, so never replaced: choose another name")
        if not self._force:
            raise FolderError(f"{self._target}: exists: replace it with --force, or choose another folder")

    @contextmanager
    def _new_file(self, name: str) -> Iterator[int]:
        inside = PurePosixPath(name)
        if inside.is_absolute() or ".." in inside.parts or not inside.parts:
            raise FolderError(f"{name}: is not a path inside a model folder")
        path = self._workspace.new / inside
        with os_errors_named(self._target / name):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            yield descriptor
            with os_errors_named(self._target / name):
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _commit(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            return
        new = self._workspace.new
        if not is_model_folder(new):
            raise FolderError(f"{self._target}: a model folder needs a config.json, and none was written")
        with os_errors_named(self._target):
            for folder, _, _ in os.walk(new, topdown=False):
                sync_folder(Path(folder))
            self._workspace.swap_in()


def replace_file(folder: Path, name: str, data: bytes) -> None:
    """Replace or add one file at the top of a model folder; readers see the old bytes or the new, no mixture.

    Raises:
        FolderError: it cannot be written, or another process is replacing the same file.
    """
    path = folder / name
    draft = folder / f".{name}.writing"
    with os_errors_named(path):
        descriptor = lock(draft)
    if descriptor is None:
        raise FolderError(f"{path}: is being written by another process: wait until that ends")
    try:
        with os_errors_named(path):
            os.ftruncate(descriptor, 0)
            _write_at(descriptor, memoryview(data), 0)
            os.fsync(descriptor)
            draft.rename(path)
            sync_folder(folder)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
    finally:
        os.close(descriptor)


def _write_at(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data[:_CHUNK_BYTES], offset)
        data = data[written:]
        offset += written


def _bytes_of(spec: TensorSpec, found: tuple[str, np.ndarray] | None) -> memoryview:
    if found is None:
        raise FolderError(f"{spec.name}: was announced, but the tensors ended before it")
    name, array = found
    if TensorSpec(name, array.shape, array.dtype.name) != spec or not array.dtype.isnative:
        wanted, got = f"{spec.dtype} {spec.shape}", f"{array.dtype.str} {array.dtype.name} {array.shape}"
        raise FolderError(f"{spec.name}: was announced as {wanted}, but {name} came as {got}")
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
