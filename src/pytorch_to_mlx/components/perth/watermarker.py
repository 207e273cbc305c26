"""Watermarks in recordings, as perth/perth_net/perth_net_implicit/perth_watermarker.py applies and detects them."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.audio.polyphase import resample_polyphase
from pytorch_to_mlx.components.perth.network import SUBBAND, Perth
from pytorch_to_mlx.components.perth.spectrum import (
    HOP,
    LEAST_SAMPLES,
    decibels,
    framed,
    signal,
    spectrum,
    with_decibels,
)
from pytorch_to_mlx.errors import AudioError
from pytorch_to_mlx.parity import scope, tap

RATE = 32000
# Frames count whose normalised decibels, summed, exceed this share of the loudest frame's.
LEAST_ENERGY = 0.05
# Frames whose spectra are held at once, 15 s, and how many on each side overlap with a sample.
BLOCK = 1500
OVERLAP = 4


class PerthWatermarker:
    """A `Watermarker`."""

    def __init__(self, network: Perth) -> None:
        self.network = network

    def apply(self, audio: Audio) -> Audio:
        """The recording with the watermark, at its own rate.

        As upstream's, it has a whole number of frames and ends up to 10 ms sooner; what Chatterbox speaks keeps its
        length.

        Raises:
            AudioError: shorter than 33 ms.
        """
        frames = _framed(tap("resampled", audio.resampled(RATE).samples))
        residual = tap("residual", np.array(self.network.encoder(*_heard(frames))[0]))
        pieces = [_marked(frames, residual, start) for start in range(0, len(frames) - 1, BLOCK)]
        marked = Audio(tap("marked", np.concatenate(pieces)), RATE).resampled(audio.rate)
        tap("watermarked", marked.samples)
        return marked

    def detect(self, audio: Audio) -> float:
        """How sure it is that the recording carries the watermark, from 0 to 1; upstream rounds this.

        Raises:
            AudioError: shorter than 33 ms, or silent throughout.
        """
        with scope("detect"):
            samples = audio.samples
            if audio.rate != RATE:
                samples = tap("resampled", resample_polyphase(samples, audio.rate, RATE))
            heard = _heard(_framed(samples))
        confidence = tap("confidence", self.network.decoder(*heard)).item()
        if not np.isfinite(confidence):
            raise AudioError("the recording is silent: nothing tells whether it carries the watermark")
        return float(np.clip(confidence, 0, 1))


def _framed(samples: np.ndarray) -> np.ndarray:
    if samples.size < LEAST_SAMPLES:
        raise AudioError(f"the recording is too short for the watermark: {samples.size / RATE * 1000:.0f} ms, not 33")
    return framed(samples)


def _heard(frames: np.ndarray) -> tuple[mx.array, mx.array]:
    """What the network sees: the lowest bins in decibels, (1, frames, 128), and which frames count, (1, frames)."""
    subband, energy = np.empty((len(frames), SUBBAND), np.float32), np.empty(len(frames))
    for start in range(0, len(frames), BLOCK):
        block = slice(start, start + BLOCK)
        level = decibels(spectrum(frames[block]))
        subband[block], energy[block] = level[:, :SUBBAND], level.sum(axis=1)
    mask = tap("mask", (energy > LEAST_ENERGY * energy.max()).astype(np.float32))
    return mx.array(tap("subband", subband))[None], mx.array(mask)[None]


def _marked(frames: np.ndarray, residual: np.ndarray, start: int) -> np.ndarray:
    """The samples from frame `start` on for a block, float32. Bins without a residual stay as they are."""
    first, end = max(0, start - OVERLAP), min(len(frames), start + BLOCK + OVERLAP + 1)
    whole = spectrum(frames[first:end])
    lowest = whole[:, :SUBBAND]
    whole[:, :SUBBAND] = with_decibels(lowest, decibels(lowest) + residual[first:end])
    samples = signal(whole)[(start - first) * HOP :]
    return samples[: BLOCK * HOP].astype(np.float32)
