"""Named noise streams: seeded for use, replayed for parity. Networks take arrays; models draw them here by name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from math import prod
from typing import Protocol

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.errors import ParityError

Shape = tuple[int, ...]

# A stream is drawn in blocks of about this many numbers, so that a part of it can be drawn without what precedes it.
BLOCK = 8192


class Noise(Protocol):
    """What a model draws from. Each name is a stream of frames: item `start` is the same however it is asked for."""

    def normal(self, name: str, start: int, count: int, shape: Shape) -> mx.array:
        """Frames `start` to `start + count` of N(0, 1), (count, *shape) float32."""
        ...

    def uniform(self, name: str, start: int, count: int, shape: Shape) -> mx.array:
        """Frames of the uniform distribution on [0, 1), (count, *shape) float32."""
        ...

    def exponential(self, name: str, start: int, count: int, shape: Shape) -> mx.array:
        """Frames of the exponential distribution with rate 1, (count, *shape) float32."""
        ...


class SeededNoise:
    """Noise that depends on seed, name, frame shape and position only: the same in one piece and in parts."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def normal(self, name: str, start: int, count: int, shape: Shape) -> mx.array:
        return self._frames(name, start, count, shape, lambda size, key: mx.random.normal(size, key=key))

    def uniform(self, name: str, start: int, count: int, shape: Shape) -> mx.array:
        return self._frames(name, start, count, shape, lambda size, key: mx.random.uniform(shape=size, key=key))

    def exponential(self, name: str, start: int, count: int, shape: Shape) -> mx.array:
        # u < 1, so the logarithm is finite; samplers divide by the result, so it is never 0.
        return mx.maximum(-mx.log1p(-self.uniform(name, start, count, shape)), 1e-20)

    def _frames(
        self, name: str, start: int, count: int, shape: Shape, draw: Callable[[Shape, mx.array], mx.array]
    ) -> mx.array:
        if count == 0:
            return mx.zeros((0, *shape))
        length = max(1, BLOCK // prod(shape))
        first, last = start // length, (start + count - 1) // length
        blocks = [draw((length, *shape), self._key(name, block)) for block in range(first, last + 1)]
        offset = start - first * length
        return mx.concatenate(blocks)[offset : offset + count]

    def _key(self, name: str, block: int) -> mx.array:
        """A key of its own for each block, in the same time however far into the stream it is."""
        digest = hashlib.blake2b(f"{self.seed}/{block}/{name}".encode(), digest_size=8).digest()
        return mx.random.key(int.from_bytes(digest, "little"))


def part_seed(seed: int, index: int) -> int:
    """The seed of a part of a text; the first part's is `seed` itself."""
    return seed + index * 1_000_003


class ReplayedNoise:
    """Recorded noise, one array of frames for each name."""

    def __init__(self, recorded: Mapping[str, np.ndarray]) -> None:
        self._recorded = recorded

    def normal(self, name: str, start: int, count: int, shape: Shape) -> mx.array:
        """As recorded, whatever the distribution.

        Raises:
            ParityError: no such stream, too short, or of another shape.
        """
        frames = self._recorded.get(name)
        if frames is None:
            raise ParityError(f"the recording has no noise {name!r}; it has {', '.join(self._recorded) or 'none'}")
        if frames.shape[1:] != shape or len(frames) < start + count:
            raise ParityError(f"noise {name!r} is {frames.shape} in the recording; {(start + count, *shape)} is needed")
        return mx.array(frames[start : start + count])

    uniform = normal
    exponential = normal
