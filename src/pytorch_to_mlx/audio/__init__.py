"""Recordings: reading, resampling, spectra. Samples are float32 in [-1, 1]."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pytorch_to_mlx.audio.passage import best_passage
from pytorch_to_mlx.audio.resample import Method, resample
from pytorch_to_mlx.errors import AudioError


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Begin the message of an `AudioError` within the block with the file that it is about."""
    try:
        yield
    except AudioError as error:
        raise AudioError(f"{path}: {error}") from None


@contextmanager
def opening(path: str | Path) -> Iterator[None]:
    """Within the block, soundfile reads a file.

    Raises:
        AudioError: the file does not exist, or is not audio.
    """
    import soundfile

    if not Path(path).exists():
        raise AudioError(f"{path}: no such file")
    try:
        yield
    except (OSError, soundfile.LibsndfileError) as error:
        raise AudioError(
            f"cannot read {path} as audio: {error}; WAV, FLAC, OGG and MP3 can be read, and of another format ffmpeg "
            "makes one"
        ) from error


def file_format(path: str | Path) -> str:
    """libsndfile's name of the audio format that a file's suffix stands for.

    Raises:
        AudioError: none.
    """
    import soundfile

    kind = {"aif": "AIFF", "oga": "OGG", "opus": "OGG"}.get(suffix := Path(path).suffix[1:].lower(), suffix.upper())
    if kind not in soundfile.available_formats():
        raise AudioError(f"{path}: no audio format is called {suffix!r}; use .wav, .flac, .ogg or .mp3")
    return kind


@dataclass(frozen=True, eq=False)
class Audio:
    """A mono recording.

    Attributes:
        samples: shape (n,), float32.
        rate: samples per second.
    """

    samples: np.ndarray
    rate: int

    def __post_init__(self) -> None:
        if self.samples.ndim != 1:
            raise AudioError(f"expected mono samples of shape (n,), got {self.samples.shape}")
        if self.samples.size == 0:
            raise AudioError("the recording is empty")
        if self.rate <= 0:
            raise AudioError(f"a sample rate of {self.rate} Hz makes no sense")
        if not np.isfinite(self.samples).all():
            raise AudioError("the recording has samples that are not finite numbers")
        object.__setattr__(self, "samples", np.ascontiguousarray(self.samples, dtype=np.float32))

    @classmethod
    def read(cls, path: str | Path) -> Audio:
        """Read any file that libsndfile reads; several channels are averaged.

        Raises:
            AudioError: the file does not exist, is not audio, or is empty.
        """
        import soundfile

        with opening(path):
            samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        with naming(path):
            return cls(samples.mean(axis=1), rate)

    def write(self, path: str | Path) -> None:
        """Write a file of the format that the suffix names, in 16-bit PCM where the format has that.

        Raises:
            AudioError: the suffix names no format that libsndfile writes.
        """
        import soundfile

        kind = file_format(path)
        subtype = "PCM_16" if soundfile.check_format(kind, "PCM_16") else None
        soundfile.write(path, self.samples, self.rate, subtype=subtype, format=kind)

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.samples.size / self.rate

    def resampled(self, rate: int, method: Method = "soxr_hq") -> Audio:
        """The same recording at another rate."""
        return self if rate == self.rate else Audio(resample(self.samples, self.rate, rate, method), rate)

    def passage(self, seconds: float) -> tuple[float, Audio]:
        """The best passage of so many seconds at most (`audio/passage.py`): when it begins, and the passage."""
        first, last = best_passage(self.samples, self.rate, seconds)
        return first / self.rate, Audio(self.samples[first:last], self.rate)

    def part(self, start: float, end: float) -> Audio:
        """The samples between two times in seconds."""
        return Audio(self.samples[round(start * self.rate) : round(end * self.rate)], self.rate)


__all__ = ["Audio", "Method", "file_format", "naming", "resample"]
