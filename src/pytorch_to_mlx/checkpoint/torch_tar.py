"""Tar archives of torch before 0.1.10: storages, tensors over them, and a pickle that names the tensors."""

import mmap
from pathlib import Path
from typing import Any

from pytorch_to_mlx.checkpoint.cursor import Cursor
from pytorch_to_mlx.checkpoint.pickle_machine import PickleMachine
from pytorch_to_mlx.checkpoint.tensors import Contents
from pytorch_to_mlx.checkpoint.torch_objects import (
    Refused,
    StorageRef,
    TensorRef,
    TorchObjects,
    count,
    item_bytes,
    lazy_tensors,
    tensor_refs,
)
from pytorch_to_mlx.errors import CheckpointError, UnsafeFileError

_BLOCK = 512


def is_tar(start: bytes) -> bool:
    """Whether a file's first block is a tar header."""
    return start[257:262] == b"ustar"


def read_torch_tar(path: Path, buffer: mmap.mmap) -> Contents:
    """Open a tar archive of old torch. torch itself refuses them under `weights_only`, so it is not asked.

    Raises:
        UnsafeFileError: a pickle names anything but tensors and plain data.
        CheckpointError: the archive is damaged.
    """
    members = _members(buffer)
    if missing := {"storages", "tensors", "pickle"} - set(members):
        raise CheckpointError(f"a tar archive without {sorted(missing)[0]!r} is not a checkpoint of torch")
    archive = _TarReader(buffer, members)
    storages = archive.read_storages()
    known = storages | archive.read_tensors(storages)

    def persistent(saved: object) -> StorageRef | TensorRef | Refused:
        if not isinstance(saved, (int, str)):
            raise UnsafeFileError("the pickle holds a whole module, which only its own code could rebuild")
        return known[int(saved)]

    tree = PickleMachine(archive.cursor("pickle"), archive.objects.find, persistent).load()
    refs = tensor_refs(tree)
    return Contents("torch-tar", (path,), lazy_tensors(refs, archive.objects, archive.places, buffer, path))


class _TarReader:
    """The two tables of a tar checkpoint. Storages, views and tensors share one space of integer keys."""

    def __init__(self, buffer: mmap.mmap, members: dict[str, range]) -> None:
        self.buffer = buffer
        self.members = members
        self.objects = TorchObjects(len(buffer))
        self.places: dict[str, range] = {}

    def cursor(self, member: str) -> Cursor:
        return Cursor(self.buffer, self.members[member].start, self.members[member].stop)

    def read_storages(self) -> dict[int, StorageRef]:
        """The member `storages`: a count; for each a pickled (key, location, type) and elements; views."""
        cursor = self.cursor("storages")
        found: dict[int, StorageRef] = {}
        for _ in range(count(self._plain(cursor))):
            key, _, kind = self._plain(cursor)
            (elements,) = cursor.unpack("<q")
            found[count(key)] = storage = self.objects.storage(kind, str(key), elements)
            begin = cursor.skip(elements * item_bytes(storage.dtype))
            self.places[storage.key] = range(begin, cursor.position)
        for key, root, offset, elements in self._plain(cursor):
            whole = found[count(root)]
            found[count(key)] = view = StorageRef(whole.key, whole.dtype, count(elements), count(offset))
            self.objects.storages.add(view)
        return found

    def read_tensors(self, storages: dict[int, StorageRef]) -> dict[int, TensorRef | Refused]:
        """The member `tensors`: a count; for each a pickled (key, storage, type), sizes, strides, offset."""
        cursor = self.cursor("tensors")
        found = {}
        for _ in range(count(self._plain(cursor))):
            key, storage, _ = self._plain(cursor)
            (dimensions, _) = cursor.unpack("<ii")  # an eight-byte field of which four are used
            if not 0 <= dimensions <= 64:
                raise CheckpointError(f"a tensor with {dimensions} dimensions; the archive is damaged")
            shape, stride = cursor.unpack(f"<{dimensions}q"), cursor.unpack(f"<{dimensions}q")
            (offset,) = cursor.unpack("<q")
            found[count(key)] = self.objects.tensor(storages[count(storage)], offset, shape, stride)
        return found

    def _plain(self, cursor: Cursor) -> Any:
        return PickleMachine(cursor, self.objects.find, _no_persistent).load()


def _no_persistent(_: object) -> Any:
    raise UnsafeFileError("the archive's tables hold a persistent id, which torch never writes there")


def _members(buffer: mmap.mmap) -> dict[str, range]:
    """The regular files of the archive. Links, devices and extended headers are stepped over."""
    found: dict[str, range] = {}
    cursor = Cursor(buffer)
    while cursor.end - cursor.position >= _BLOCK:
        header = cursor.take(_BLOCK)
        if not any(header):
            break
        if int(header[148:156].strip(b" \0"), 8) != sum(header[:148]) + sum(header[156:]) + 8 * ord(" "):
            raise CheckpointError("the tar archive is damaged (a header fails its check sum); fetch it again")
        size = int(header[124:136].strip(b" \0"), 8)
        begin = cursor.skip(size)
        name = header[:100].rstrip(b"\0").decode()
        if header[156:157] in (b"0", b"\0"):
            if name in found:
                raise CheckpointError(f"the archive holds {name!r} twice")
            found[name] = range(begin, cursor.position)
        cursor.skip(min(-size % _BLOCK, cursor.end - cursor.position))
    return found
