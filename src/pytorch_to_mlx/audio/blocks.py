"""Recordings of any length, a block after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pytorch_to_mlx.audio import opening
from pytorch_to_mlx.errors import AudioError

if TYPE_CHECKING:
    import soundfile

BLOCK_SECONDS = 30


def seconds_of(path: str | Path) -> float:
    """The length of a file, of which nothing but the beginning is looked at.

    Raises:
        AudioError: the file does not exist, is not audio, or is empty.
    """
    with _opened(path) as file:
        return file.frames / file.samplerate


def read_blocks(path: str | Path, rate: int) -> Iterator[np.ndarray]:
    """The samples of a file at a rate, float32, channels averaged, in blocks of about 30 s.

    Raises:
        AudioError: the file does not exist, is not audio, or is empty; when the first block is asked for.
    """
    import soxr

    with _opened(path) as file:
        stream = soxr.ResampleStream(file.samplerate, rate, 1) if file.samplerate != rate else None
        size = BLOCK_SECONDS * file.samplerate
        for first in range(0, file.frames, size):
            block = file.read(size, dtype="float32", always_2d=True).mean(axis=1)
            if not np.isfinite(block).all():
                raise AudioError(f"{path}: the recording has samples that are not finite numbers")
            if stream is not None:
                block = stream.resample_chunk(block, last=first + size >= file.frames)
            yield block


@contextmanager
def _opened(path: str | Path) -> Iterator[soundfile.SoundFile]:
    import soundfile

    with opening(path), soundfile.SoundFile(path) as file:
        if not file.frames:
            raise AudioError(f"{path}: the recording is empty")
        yield file


def in_blocks(parts: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Samples (n,), some at a time, as blocks of `size`, the last of which may be shorter."""
    kept = np.empty(0, np.float32)
    for part in parts:
        kept = np.concatenate([kept, part]) if kept.size else part
        full = kept.size - kept.size % size
        for first in range(0, full, size):
            yield kept[first : first + size]
        kept = kept[full:]
    if kept.size:
        yield kept
