"""The log-mel spectrum of a recording of any length (whisper/audio.py), kept in a file that nobody else sees."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import IO

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.components.whisper.mel import HOP, WINDOW, compressed, log_powers
from pytorch_to_mlx.errors import AudioError

SILENCE = -10.0  # the logarithm of nothing
WINDOW_FRAMES = 3000


class Spectrogram:
    """A recording's spectrum, of which windows are looked at.

    Args:
        blocks: its samples at 16 kHz, some at a time. Memory holds one block.
        bands: of mel.

    Attributes:
        frames: that hold sound, 100 a second.

    Raises:
        AudioError: there is no room for the file, or what `blocks` raises.
    """

    def __init__(self, blocks: Iterable[np.ndarray], bands: int) -> None:
        with _room_for():
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as this
        self._bands = bands
        samples, held, loudest = 0, 0, SILENCE
        for part, count in _overlapping(blocks):
            samples = count
            if len(part) >= WINDOW:
                log = log_powers(part, bands).astype(np.float32)
                held, loudest = held + len(log), max(loudest, float(log.max()))
                with _room_for(self._file):
                    self._file.write(log.tobytes())
        with _room_for(self._file):
            self._file.flush()
        self.frames, self._loudest = samples // HOP, loudest
        shape = (held, bands)
        self._log = np.memmap(self._file, np.float32, "r", shape=shape) if held else np.empty(shape, np.float32)

    def window(self, seek: int, frames: int) -> mx.array:
        """Frames from `seek` on, and zeros after them, (3000, bands).

        Raises:
            ValueError: more frames than a window has.
        """
        if frames > WINDOW_FRAMES:
            raise ValueError(f"a window has {WINDOW_FRAMES} frames, not {frames}")
        log = np.array(self._log[seek : seek + frames])
        found = compressed(log.astype(np.float64), self._loudest).astype(np.float32)
        return mx.array(np.pad(found, ((0, WINDOW_FRAMES - len(found)), (0, 0))))

    def beginning(self) -> mx.array:
        """The first 30 s, where need be with silence after them, (3000, bands)."""
        log = np.array(self._log[:WINDOW_FRAMES]).astype(np.float64)
        log = np.pad(log, ((0, WINDOW_FRAMES - len(log)), (0, 0)), constant_values=SILENCE)
        return mx.array(compressed(log, self._loudest).astype(np.float32))


@contextmanager
def _room_for(file: IO[bytes] | None = None) -> Iterator[None]:
    """Within the block the file is written; an `AudioError`, so that of several recordings one costs no other."""
    try:
        yield
    except OSError as error:
        if file is not None:
            with suppress(OSError):  # what is left in its buffer would be tried again
                file.close()
        raise AudioError(
            f"no spectrum can be kept in {tempfile.tempdir or 'a temporary folder'} ({error.strerror}), which takes "
            "115 to 184 MB for each hour of sound; let TMPDIR name a folder with room"
        ) from error


def _overlapping(blocks: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, int]]:
    """Samples, as many as make whole frames, and how many of the recording there were so far.

    Before the recording stands its reflection, after it silence; parts overlap by what frames share.
    """
    kept = np.empty(0, np.float32)
    samples, begun = 0, False
    for block in blocks:
        samples += len(block)
        kept = np.concatenate([kept, block])
        if not begun:
            if len(kept) <= WINDOW // 2:
                continue
            kept, begun = np.concatenate([kept[1 : WINDOW // 2 + 1][::-1], kept]), True
        frames = (len(kept) - WINDOW) // HOP + 1
        if frames > 0:
            yield kept[: (frames - 1) * HOP + WINDOW], samples
            kept = kept[frames * HOP :]
    if not begun:  # so short that its reflection is of the silence after it, too
        kept = np.pad(kept, (0, WINDOW))
        kept = np.concatenate([kept[1 : WINDOW // 2 + 1][::-1], kept])
    kept = np.pad(kept, (0, WINDOW))
    frames = (len(kept) - WINDOW) // HOP + 1
    yield kept[: (frames - 1) * HOP + WINDOW], samples
