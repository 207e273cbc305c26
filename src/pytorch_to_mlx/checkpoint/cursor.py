"""Reading bytes in order, never beyond the end."""

import mmap
import struct
from typing import Any

from pytorch_to_mlx.errors import CheckpointError

MAX_LINE_BYTES = 1024


class Cursor:
    """A position in mapped bytes. Every step is checked against the bytes that are there."""

    def __init__(self, buffer: mmap.mmap | bytes, position: int = 0, end: int | None = None) -> None:
        self.buffer = buffer
        self.position = position
        self.end = len(buffer) if end is None else end
        if not 0 <= self.position <= self.end <= len(buffer):
            raise CheckpointError("points outside of the file; fetch it again")

    def skip(self, count: int) -> int:
        """Step over `count` bytes; returns where they began."""
        begin = self.position
        if not 0 <= count <= self.end - begin:
            raise CheckpointError(f"truncated: {count} bytes expected, {self.end - begin} left; fetch it again")
        self.position += count
        return begin

    def take(self, count: int) -> bytes:
        begin = self.skip(count)
        return self.buffer[begin : self.position]

    def unpack(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def line(self) -> str:
        """The text up to the next newline, without it."""
        limit = min(self.end, self.position + MAX_LINE_BYTES)
        newline = self.buffer.find(b"\n", self.position, limit)
        if newline < 0:
            raise CheckpointError("a name in the pickle does not end")
        return self.take(newline + 1 - self.position)[:-1].decode()
