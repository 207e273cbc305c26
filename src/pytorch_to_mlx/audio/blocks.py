"""Recordings of any length, a block after the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pytorch_to_mlx.errors import AudioError

BLOCK_SECONDS = 30


def read_blocks(path: str | Path, rate: int) -> Iterator[np.ndarray]:
    """The samples of a file at a rate, float32, channels averaged, in blocks of about 30 s.

    Raises:
        AudioError: the file does not exist, is not audio, or is empty; when the first block is asked for.
    """
    import soundfile
    import soxr

    if not Path(path).exists():
        raise AudioError(f"{path}: no such file")
    try:
        with soundfile.SoundFile(path) as file:
            if not file.frames:
                raise AudioError(f"{path}: the recording is empty")
            stream = soxr.ResampleStream(file.samplerate, rate, 1) if file.samplerate != rate else None
            size = BLOCK_SECONDS * file.samplerate
            for first in range(0, file.frames, size):
                block = file.read(size, dtype="float32", always_2d=True).mean(axis=1)
                if not np.isfinite(block).all():
                    raise AudioError(f"{path}: the recording has samples that are not finite numbers")
                if stream is not None:
                    block = stream.resample_chunk(block, last=first + size >= file.frames)
                yield block
    except (OSError, soundfile.LibsndfileError) as error:
        raise AudioError(f"cannot read {path} as audio: {error}") from error
