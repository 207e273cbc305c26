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
        held = (_grown(None, keys, end), _grown(None, values, end)) if pair is None else pair
        if held[0].shape[2] < end:
            held = (_grown(held[0], keys, end), _grown(held[1], values, end))
        for buffer, new in zip(held, (keys, values), strict=True):
            buffer[:, :, self.offset : end] = new
        self._buffers[layer] = held
        return held[0][:, :, :end], held[1][:, :, :end]

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


def _grown(buffer: mx.array | None, like: mx.array, length: int) -> mx.array:
    """A buffer with room for `length` positions, whose first ones are those of `buffer`."""
    batch, heads, _, width = like.shape
    held = 0 if buffer is None else buffer.shape[2]
    room = mx.zeros((batch, heads, -(-length // BLOCK) * BLOCK - held, width), like.dtype)
    return room if buffer is None else mx.concatenate([buffer, room], axis=2)
