"""Named noise streams: seeded for use, replayed for parity. Networks take arrays; models draw them here by name."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Protocol

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.errors import ParityError

Shape = tuple[int, ...]

# Frames of a stream are drawn in blocks of this many, so that a part of it can be drawn without what precedes it.
BLOCK = 64


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
    """Noise that depends on seed, name and position only: the same in one piece and in parts, on every run."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def normal(self, name: str, start: int, count: int, shape: Shape) -> mx.array:
        return self._frames(name, start, count, lambda key: mx.random.normal((BLOCK, *shape), key=key))

    def uniform(self, name: str, start: int, count: int, shape: Shape) -> mx.array:
        return self._frames(name, start, count, lambda key: mx.random.uniform(shape=(BLOCK, *shape), key=key))

    def exponential(self, name: str, start: int, count: int, shape: Shape) -> mx.array:
        # 1 - u lies in (0, 1], whose logarithm is finite; never exactly 0, by which samplers divide.
        return mx.maximum(-mx.log(1 - self.uniform(name, start, count, shape)), 1e-20)

    def _frames(self, name: str, start: int, count: int, draw) -> mx.array:  # noqa: ANN001
        first, last = start // BLOCK, (start + count - 1) // BLOCK
        stream = mx.random.key((zlib.crc32(name.encode()) << 32) ^ self.seed & 0xFFFFFFFFFFFFFFFF)
        blocks = [draw(mx.random.split(stream, last + 1)[block]) for block in range(first, last + 1)]
        offset = start - first * BLOCK
        return mx.concatenate(blocks)[offset : offset + count] if count else mx.zeros((0,))


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
