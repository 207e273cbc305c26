"""Keys and values of past positions, kept in buffers that grow in blocks and are written in place."""

from __future__ import annotations

import mlx.core as mx

from pytorch_to_mlx.errors import UsageError

BLOCK = 256


class KVCache:
    """The past of every layer of one decoder, for a batch of any size.

    Attributes:
        offset: positions held, which is the position of the next one.
    """

    def __init__(self, num_layers: int) -> None:
        self.offset = 0
        self._buffers: list[tuple[mx.array, mx.array] | None] = [None] * num_layers

    def update(self, layer: int, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Put a layer's keys and values (B, heads, T, D) after those held.

        `offset` stays: `advance` moves it when every layer has been given its own.

        Returns:
            all keys and values of that layer, (B, heads, offset + T, D).
        """
        end = self.offset + keys.shape[2]
        pair = self._buffers[layer]
        held = (_grown(None, keys, end), _grown(None, values, end)) if pair is None else _with_room(pair, end)
        for buffer, new in zip(held, (keys, values), strict=True):
            buffer[:, :, self.offset : end] = new
        self._buffers[layer] = held
        return held[0][:, :, :end], held[1][:, :, :end]

    def room(self) -> list[tuple[mx.array, mx.array]]:
        """Every layer's own buffers (B, heads, room, D), for whoever writes the next position into their memory.

        Raises:
            UsageError: a layer holds nothing yet.
        """
        held = [pair for pair in self._buffers if pair is not None]
        if len(held) < len(self._buffers):
            raise UsageError("a cache without keys and values has no buffers")
        self._buffers = [_with_room(pair, self.offset + 1) for pair in held]
        return [pair for pair in self._buffers if pair is not None]

    def advance(self, count: int) -> None:
        """Count `count` positions as held."""
        self.offset += count

    def trim(self, count: int) -> None:
        """Forget the last `count` positions.

        Raises:
            UsageError: there are fewer.
        """
        if not 0 <= count <= self.offset:
            raise UsageError(f"cannot trim {count} positions of a cache that holds {self.offset}")
        self.offset -= count


def _with_room(pair: tuple[mx.array, mx.array], length: int) -> tuple[mx.array, mx.array]:
    keys, values = pair
    return pair if keys.shape[2] >= length else (_grown(keys, keys, length), _grown(values, values, length))


def _grown(buffer: mx.array | None, like: mx.array, length: int) -> mx.array:
    """A buffer with room for `length` positions, whose first ones are those of `buffer`."""
    batch, heads, _, width = like.shape
    held = 0 if buffer is None else buffer.shape[2]
    room = mx.zeros((batch, heads, -(-length // BLOCK) * BLOCK - held, width), like.dtype)
    return room if buffer is None else mx.concatenate([buffer, room], axis=2)
