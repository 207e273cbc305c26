"""The directory of a zip file, read so that an entry is known to lie inside the file before it is touched."""

import mmap
import struct
import zlib
from dataclasses import dataclass

from pytorch_to_mlx.checkpoint.cursor import Cursor
from pytorch_to_mlx.errors import CheckpointError

MAX_DIRECTORY_BYTES = 64 * 2**20
_STORED, _DEFLATED = 0, 8
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")


@dataclass(frozen=True)
class Entry:
    """One file of the archive; `header` is the offset of its local header, which precedes its bytes."""

    header: int
    stored_bytes: int
    bytes: int
    method: int


class ZipArchive:
    """The entries of a mapped zip file by name.

    Raises:
        CheckpointError: the directory is damaged, repeats a name, is encrypted, or promises too much.
    """

    def __init__(self, buffer: mmap.mmap) -> None:
        self.buffer = buffer
        self.entries: dict[str, Entry] = {}
        begin, size, entries = _directory(buffer)
        cursor = Cursor(buffer, begin, begin + size)
        for _ in range(entries):
            name, entry = _entry(cursor)
            if name in self.entries:
                raise CheckpointError(f"the archive holds {name!r} twice")
            self.entries[name] = entry
        if cursor.position != cursor.end:
            raise CheckpointError("the zip archive's directory holds more than it says")
        if sum(entry.stored_bytes for entry in self.entries.values()) > len(buffer):
            raise CheckpointError("the archive's entries overlap: together they are larger than the file")

    def extent(self, name: str) -> range:
        """Where the bytes of an uncompressed entry lie in the file."""
        entry = self._find(name)
        if entry.method != _STORED or entry.stored_bytes != entry.bytes:
            raise CheckpointError(f"entry {name!r} is compressed, which torch.save never does; save it again")
        return self._stored(entry)

    def read(self, name: str, limit: int) -> bytes:
        """The content of a small entry, inflated if it is compressed, of at most `limit` bytes."""
        entry = self._find(name)
        if entry.bytes > limit:
            raise CheckpointError(f"entry {name!r} holds {entry.bytes} bytes, more than the {limit} allowed")
        place = self._stored(entry)
        content = self.buffer[place.start : place.stop]
        if entry.method == _DEFLATED:
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, entry.bytes + 1)
        if len(content) != entry.bytes:
            raise CheckpointError(f"entry {name!r} is damaged; fetch the file again")
        return content

    def _find(self, name: str) -> Entry:
        if name not in self.entries:
            raise CheckpointError(f"the archive has no entry {name!r}; it is incomplete")
        return self.entries[name]

    def _stored(self, entry: Entry) -> range:
        cursor = Cursor(self.buffer, entry.header)
        signature, *_, name_bytes, extra_bytes = cursor.unpack(_LOCAL.format)
        if signature != b"PK\3\4":
            raise CheckpointError("the archive's directory points at something that is not an entry")
        cursor.skip(name_bytes + extra_bytes)
        begin = cursor.skip(entry.stored_bytes)
        return range(begin, cursor.position)


def _directory(buffer: mmap.mmap) -> tuple[int, int, int]:
    """Offset, size in bytes and number of entries of the central directory."""
    end = buffer.rfind(b"PK\5\6", max(0, len(buffer) - _END.size - 0xFFFF))
    if end < 0:
        raise CheckpointError("the zip archive has no directory: the file is truncated; fetch it again")
    _, disk, first_disk, _, entries, size, begin, comment = Cursor(buffer, end).unpack(_END.format)
    if disk or first_disk or end + _END.size + comment != len(buffer):
        raise CheckpointError("the zip archive does not end where it says")
    if end >= _LOCATOR.size and buffer[end - _LOCATOR.size : end - _LOCATOR.size + 4] == b"PK\6\7":
        _, _, end, _ = Cursor(buffer, end - _LOCATOR.size).unpack(_LOCATOR.format)
        signature, *_, entries, size, begin = Cursor(buffer, end).unpack(_END64.format)
        if signature != b"PK\6\6":
            raise CheckpointError("the zip archive's 64-bit directory is damaged")
    if size > MAX_DIRECTORY_BYTES or begin + size != end:
        raise CheckpointError("the zip archive's directory does not lie where it says")
    return begin, size, entries


def _entry(cursor: Cursor) -> tuple[str, Entry]:
    fields = cursor.unpack(_ENTRY.format)
    signature, _, _, flags, method, _, _, _, stored_bytes, size, *lengths = fields[:13]
    name_bytes, extra_bytes, comment_bytes = lengths
    header = fields[-1]
    if signature != b"PK\1\2" or flags & 1:
        raise CheckpointError("the zip archive's directory is damaged or encrypted")
    name = cursor.take(name_bytes).decode()
    extra = Cursor(cursor.take(extra_bytes))
    cursor.skip(comment_bytes)
    while extra.position < extra.end:
        kind, length = extra.unpack("<HH")
        field = Cursor(extra.take(length))
        if kind == 1:  # 64-bit values, present only for those that did not fit
            size, stored_bytes, header = (
                field.unpack("<Q")[0] if value == 0xFFFFFFFF else value for value in (size, stored_bytes, header)
            )
    return name, Entry(header, stored_bytes, size, method)
