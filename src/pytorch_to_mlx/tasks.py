"""What models offer. A loaded model has the methods of its task; the command line and services use nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from pytorch_to_mlx.audio import Audio

Decoder = Literal["argmax", "weighted", "viterbi"]


@dataclass(frozen=True)
class PitchTrack:
    """A pitch contour.

    Attributes:
        times: frame centres in seconds, shape (frames,).
        pitch: fundamental frequency in Hz, shape (frames,); it has a value in unvoiced frames too.
        periodicity: the network's confidence in [0, 1], shape (frames,).
    """

    times: np.ndarray
    pitch: np.ndarray
    periodicity: np.ndarray

    def voiced(self, threshold: float = 0.21) -> np.ndarray:
        """Boolean mask of frames whose periodicity reaches `threshold`, shape (frames,)."""
        return self.periodicity >= threshold


@runtime_checkable
class PitchTracker(Protocol):
    """Tells the fundamental frequency of speech or song over time."""

    def pitch(
        self,
        audio: Audio,
        *,
        hop_length: int = 160,
        fmin: float = 50.0,
        fmax: float = 550.0,
        decoder: Decoder = "viterbi",
        dither: np.ndarray | None = None,
    ) -> PitchTrack: ...


@runtime_checkable
class SpeakerEncoder(Protocol):
    """Turns a voice into a unit vector; the inner product of two tells how alike the voices are."""

    def embed(self, audio: Audio) -> np.ndarray: ...

    def embed_speaker(self, recordings: Sequence[Audio]) -> np.ndarray: ...

    def similarity(self, first: np.ndarray, second: np.ndarray) -> float: ...
