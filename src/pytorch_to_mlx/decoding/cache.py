"""Keys and values of past positions, kept in buffers that grow in blocks and are written in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.errors import UsageError

BLOCK = 256


class KVCache:
    """The past of every layer of one decoder, for a batch of any size.

    Args:
        num_layers: of the decoder.
        padding: how many of each sequence's first positions hold nothing and are not attended to, where sequences of
            several lengths begin so that they end together.

    Attributes:
        offset: positions held, which is the position of the next one.
        first: the oldest position held.
        padding: (B,), or None for none; `most_padding` the largest of them.

    Raises:
        UsageError: less than no padding.
    """

    first = 0

    def __init__(self, num_layers: int, padding: Sequence[int] = ()) -> None:
        self.offset = 0
        if min(padding, default=0) < 0:
            raise UsageError(f"a cache cannot have {min(padding)} positions of padding")
        self.padding = mx.array(list(padding)) if any(padding) else None
        self.most_padding = max(padding, default=0)
        self._buffers: list[tuple[mx.array, mx.array] | None] = [None] * num_layers
        self._own = False  # whether nobody else can see the buffers' memory

    def __copy__(self) -> KVCache:
        """A cache that goes on by itself from here; memory is copied when one of the two is written to."""
        twin = KVCache(len(self._buffers))
        twin.offset, twin._buffers = self.offset, [*self._buffers]
        twin.padding, twin.most_padding = self.padding, self.most_padding
        self._own = False
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> KVCache:
        return self.__copy__()

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
        self._own = False
        return held[0][:, :, :end], held[1][:, :, :end]

    @property
    def is_empty(self) -> bool:
        """Whether no memory is there yet."""
        return None in self._buffers

    def begin(self, batch: int, heads: int, width: int, dtype: mx.Dtype) -> None:
        """Give an empty cache memory, as the first keys and values would."""
        like = mx.zeros((batch, heads, 0, width), dtype)
        self._buffers = [(_grown(None, like, 1), _grown(None, like, 1)) for _ in self._buffers]

    def room(self, count: int = 1) -> list[tuple[mx.array, mx.array]]:
        """Every layer's buffers (B, heads, room, D), evaluated, for whoever writes further positions there.

        MLX's arrays are values: what `update` returned, and what is yet to be computed from it, must not change. So the
        buffers are copied where anybody else may see their memory; step after step they are the same.

        Raises:
            UsageError: a layer holds nothing yet.
        """
        held: list[tuple[mx.array, mx.array]] = []
        for index, pair in enumerate(self._buffers):
            if pair is None:
                raise UsageError(f"layer {index} of the cache holds nothing yet")
            grown = _with_room(pair, self.offset + count)
            held.append(grown if self._own or grown is not pair else _copied(pair))
            self._buffers[index] = held[-1]  # what it replaces is freed before the next is copied
        mx.eval(held)
        self._own = True
        return held

    def advance(self, count: int) -> None:
        """Count `count` positions as held."""
        self.offset += count

    def select(self, rows: Sequence[int]) -> None:
        """Go on with these sequences, in this order: some may be left out, or there several times."""
        chosen = mx.array(list(rows))
        for layer, pair in enumerate(self._buffers):
            if pair is not None:
                keys, values = (buffer[:, :, : self.offset][chosen] for buffer in pair)
                self._buffers[layer] = (_grown(keys, keys, self.offset + 1), _grown(values, values, self.offset + 1))
        if self.padding is not None:
            self.padding = self.padding[chosen]
        self._own = False

    def trim(self, count: int) -> None:
        """Forget the last `count` positions.

        Raises:
            UsageError: there are fewer.
        """
        if not 0 <= count <= self.offset:
            raise UsageError(f"cannot trim {count} positions of a cache that holds {self.offset}")
        self.offset -= count


class WindowCache:
    """The past of every layer of a decoder that attends to its last `window` positions, and nothing older.

    Attributes:
        offset: positions seen, which is the position of the next one.
        first: the oldest position whose keys and values are still there.
    """

    padding = None

    def __init__(self, num_layers: int, window: int) -> None:
        self.offset = self.first = 0
        self._window = window
        self._held: list[tuple[mx.array, mx.array] | None] = [None] * num_layers

    def __copy__(self) -> WindowCache:
        """A cache that goes on by itself from here."""
        twin = WindowCache(len(self._held), self._window)
        twin.offset, twin.first, twin._held = self.offset, self.first, [*self._held]
        return twin

    def update(self, layer: int, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """As `KVCache.update`, from position `first` on."""
        held = self._held[layer]
        if held is not None:
            keys, values = mx.concatenate([held[0], keys], axis=2), mx.concatenate([held[1], values], axis=2)
        kept = max(0, keys.shape[2] - self._window + 1)
        self._held[layer] = (mx.contiguous(keys[:, :, kept:]), mx.contiguous(values[:, :, kept:]))  # no views
        return keys, values

    def advance(self, count: int) -> None:
        """Count `count` positions as seen."""
        self.offset += count
        self.first = max(0, self.offset - self._window + 1)

    @property
    def arrays(self) -> list[mx.array]:
        """Everything held, to be evaluated with what was computed."""
        return [array for pair in self._held if pair is not None for array in pair]


def _with_room(pair: tuple[mx.array, mx.array], length: int) -> tuple[mx.array, mx.array]:
    keys, values = pair
    return pair if keys.shape[2] >= length else (_grown(keys, keys, length), _grown(values, values, length))


def _copied(pair: tuple[mx.array, mx.array]) -> tuple[mx.array, mx.array]:
    """MLX's own ways to copy share memory."""
    keys, values = (mx.array(np.array(buffer, copy=False)) for buffer in pair)
    return keys, values


def _grown(buffer: mx.array | None, like: mx.array, length: int) -> mx.array:
    """A buffer with room for `length` positions, whose first ones are those of `buffer`."""
    batch, heads, _, width = like.shape
    held = 0 if buffer is None else buffer.shape[2]
    room = mx.zeros((batch, heads, -(-length // BLOCK) * BLOCK - held, width), like.dtype)
    return room if buffer is None else mx.concatenate([buffer, room], axis=2)
