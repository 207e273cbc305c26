"""Sound as it arrives: from a file as if it were being spoken, from a pipe, from a microphone."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol, Self

import numpy as np

from pytorch_to_mlx.audio.blocks import read_blocks
from pytorch_to_mlx.audio.pcm import decode_stream
from pytorch_to_mlx.errors import AudioError, MissingDependencyError

AHEAD = 60
"""Seconds that a pipe is read ahead of what is heard; then whoever writes to it waits."""
CHUNK = 1 << 16
"""Bytes that are read at once, at most."""
INSTALL = "--stream mic needs sounddevice: pip install 'pytorch-to-mlx[microphone]'"
PORTAUDIO = "--stream mic needs the PortAudio library: sudo apt-get install libportaudio2 (Debian, Ubuntu)"
NO_MICROPHONE = "no microphone can be opened; connect one, or pipe sound in with --stream -"


class Source(Protocol):
    """Sound of one rate, in order."""

    @property
    def arrived(self) -> int:
        """Samples that there were so far, read or not."""
        ...

    def read(self, least: int, most: int) -> np.ndarray:
        """The next samples, float32: waits for `least`, then gives what has arrived, `most` at most.

        Fewer than `least` are the last; the next call raises what ended the sound, if that was an error.

        Raises:
            AudioError: the sound cannot be read on, and all before was given.
        """
        ...


class RecordedFile:
    """A file whose sound arrives just when it is asked for.

    Raises:
        AudioError: the file does not exist, is not audio, or is empty.
    """

    def __init__(self, path: str | Path, rate: int) -> None:
        self._blocks = read_blocks(path, rate)
        self._held = next(self._blocks)
        self._failure: AudioError | None = None
        self.arrived = 0

    def read(self, least: int, most: int) -> np.ndarray:
        """The next `least` samples."""
        if self._failure is not None:
            raise self._failure
        try:
            while self._held.size < least and (block := next(self._blocks, None)) is not None:
                self._held = np.concatenate([self._held, block])
        except AudioError as error:  # what came before is heard first
            self._failure = error
        found, self._held = self._held[:least], self._held[least:]
        self.arrived += found.size
        return found


class Live:
    """Sound that comes by itself, while it is entered, and waits here until it is read."""

    def __init__(self) -> None:
        self.arrived = 0
        # Its methods may be called from signal handlers, other queues' not.
        self._queue: SimpleQueue[np.ndarray | Exception | None] = SimpleQueue()
        self._held = np.empty(0, np.float32)
        self._ended = self._given = self._stopped = False
        self._failure: Exception | None = None
        self._heard = 0
        self._read = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def stop(self) -> None:
        """End the sound with what has arrived; may be called at any time, from anywhere."""
        self._stopped = True
        self._queue.put(None)

    def read(self, least: int, most: int) -> np.ndarray:
        """As `Source` has it."""
        if self._given and self._failure is not None:
            raise self._failure
        held = [self._held]
        count = self._held.size
        while not self._ended and (count < least or (count < most and not self._queue.empty())):
            block = self._queue.get()
            if isinstance(block, np.ndarray):
                held.append(block)
                count += block.size
            else:
                self._ended, self._failure = True, block
        found, self._held = np.split(np.concatenate(held), [most])
        self._given = found.size < least
        self._heard += found.size
        self._read.set()
        return found

    def _arrive(self, block: np.ndarray) -> None:
        if not self._stopped:  # after that nobody hears it, and nothing of it waits
            self.arrived += block.size
            self._queue.put(block)

    def _feed(self, blocks: Iterable[np.ndarray], ahead: int) -> None:
        """All blocks, never more than `ahead` samples before they are read."""
        try:
            for block in blocks:
                self._arrive(block)
                if self._stopped:
                    return
                while self.arrived - self._heard > ahead:
                    self._read.wait()
                    self._read.clear()
            self.stop()
        except Exception as error:
            self._queue.put(error)


class Pipe(Live):
    """A file descriptor, such as standard input's, that sound is written to: WAV, or raw 16-bit PCM of one channel."""

    def __init__(self, descriptor: int, raw_rate: int | None, rate: int) -> None:
        """Of raw samples of a rate, `rate` itself if None: then what looks like another format is refused."""
        super().__init__()
        self._descriptor, self._rates = descriptor, (raw_rate, rate)

    def __enter__(self) -> Self:
        blocks = decode_stream(_chunks(self._descriptor), *self._rates)
        # Nothing ends a read of a pipe but its writer: the thread ends with the process.
        threading.Thread(target=self._feed, args=(blocks, AHEAD * self._rates[1]), daemon=True).start()
        return self


def _chunks(descriptor: int) -> Iterator[bytes]:
    """What arrives, without a buffer: Python's own would wait for more, and lock at exit."""
    try:
        while chunk := os.read(descriptor, CHUNK):
            yield chunk
    except OSError as error:
        raise AudioError(f"cannot be read ({error.strerror})") from error


class Microphone(Live):
    """The system's microphone, at its own rate.

    Raises:
        MissingDependencyError: sounddevice, or its PortAudio, is not installed.
        AudioError: there is no microphone, or it cannot be opened (by `with`).
    """

    def __init__(self, rate: int) -> None:
        super().__init__()
        try:
            import sounddevice
        except ImportError as error:
            raise MissingDependencyError(INSTALL) from error
        except OSError as error:
            raise MissingDependencyError(PORTAUDIO) from error
        self._library: Any = sounddevice
        try:
            found: Any = sounddevice.query_devices(kind="input")
        except (sounddevice.PortAudioError, ValueError) as error:
            raise AudioError(f"{NO_MICROPHONE} ({error})") from error
        self._device_rate, self._rate = round(found["default_samplerate"]), rate
        self._lost = 0

    def __enter__(self) -> Self:
        import soxr

        # Not every microphone offers every rate.
        resampler = soxr.ResampleStream(self._device_rate, self._rate, 1) if self._device_rate != self._rate else None

        def arrive(block: np.ndarray, _frames: int, _time: Any, status: Any) -> None:
            self._lost += bool(status.input_overflow)
            samples = block[:, 0].copy()  # the array is PortAudio's
            self._arrive(samples if resampler is None else resampler.resample_chunk(samples))

        try:
            self._stream = self._library.InputStream(
                samplerate=self._device_rate,
                channels=1,
                dtype="float32",
                callback=arrive,
                finished_callback=self.stop,  # it may be unplugged, after which nothing arrives
            )
            try:
                self._stream.start()
            except self._library.PortAudioError:
                self._stream.close()
                raise
        except self._library.PortAudioError as error:
            raise AudioError(f"{NO_MICROPHONE} ({error})") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.stop()
        self._stream.close()
        if self._lost:
            warnings.warn(
                f"the machine was too busy for the microphone: sound was lost {self._lost} times", stacklevel=2
            )
