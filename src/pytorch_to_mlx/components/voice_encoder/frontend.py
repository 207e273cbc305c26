"""From a recording to the mel spectra of overlapping partial utterances, as each of the two upstreams does it.

Both use 25 ms windows every 10 ms, 40 mel bands of power, and partial utterances of 160 frames every 77 (1.3 a second).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.audio.spectrum import mel_filters, power_spectrogram
from pytorch_to_mlx.components.voice_encoder.network import FRAMES, MELS
from pytorch_to_mlx.errors import AudioError, MissingDependencyError
from pytorch_to_mlx.parity import tap

RATE = 16000
HOP = 160
WINDOW = 400
STEP = 77


class FrontEnd(Protocol):
    """Audio to mel spectra of partial utterances, (partials, 160, 40)."""

    def partials(self, audio: Audio) -> mx.array: ...


def _mel(samples: np.ndarray, pad_mode: Literal["constant", "reflect"]) -> mx.array:
    power = power_spectrogram(mx.array(samples), WINDOW, HOP, pad_mode)
    return power @ mel_filters(RATE, WINDOW, MELS)


def _stack(mel: mx.array, starts: range) -> mx.array:
    return tap("partials", mx.stack([mel[start : start + FRAMES] for start in starts]))


# --- Resemblyzer -------------------------------------------------------------------------------------------------

TARGET_DBFS = -30.0
VAD_WINDOW = 480  # 30 ms
VAD_SMOOTHING = 8
VAD_REACH = 3  # a voiced window keeps this many on either side
INT16_MAX = 2**15 - 1


@dataclass(frozen=True)
class ResemblyzerFrontEnd:
    """resemblyzer/audio.py: raise quiet recordings to -30 dBFS, cut long silences, pad the samples."""

    min_coverage: float = 0.75

    def partials(self, audio: Audio) -> mx.array:
        samples = tap("resampled", audio.resampled(RATE, "soxr_hq").samples)
        samples = tap("normalized", _raise_volume(samples))
        samples = tap("trimmed", _cut_silences(samples))
        if samples.size == 0:
            raise AudioError("no speech was found in the recording")
        starts = self._starts(samples.size)
        end = (starts[-1] + FRAMES) * HOP
        if end >= samples.size:
            samples = np.pad(samples, (0, end - samples.size))
        return _stack(tap("mel", _mel(samples, "constant")), starts)

    def _starts(self, size: int) -> range:
        frames = -(-(size + 1) // HOP)
        starts = range(0, max(1, frames - FRAMES + STEP + 1), STEP)
        covered = (size - starts[-1] * HOP) / (FRAMES * HOP)
        return starts[:-1] if covered < self.min_coverage and len(starts) > 1 else starts


def _raise_volume(samples: np.ndarray) -> np.ndarray:
    """Scale to -30 dBFS unless already louder; silence is refused."""
    loudness = np.sqrt(np.mean((samples * INT16_MAX) ** 2)) / INT16_MAX
    if loudness == 0:
        raise AudioError("the recording is silent")
    gain = TARGET_DBFS - 20 * np.log10(loudness)
    return samples if gain < 0 else samples * np.float32(10 ** (gain / 20))


def _cut_silences(samples: np.ndarray) -> np.ndarray:
    """Keep what WebRTC's voice activity detector (mode 3) finds voiced, smoothed over 8 windows and widened by 3."""
    try:
        import webrtcvad
    except ImportError as error:
        raise MissingDependencyError(
            "the Resemblyzer front end needs WebRTC's voice detector: pip install webrtcvad-wheels"
        ) from error
    samples = samples[: samples.size - samples.size % VAD_WINDOW]
    if samples.size == 0:
        return samples
    pcm = np.round(samples * INT16_MAX).astype(np.int16).reshape(-1, VAD_WINDOW)
    detector = webrtcvad.Vad(mode=3)
    voiced = np.array([detector.is_speech(window.tobytes(), sample_rate=RATE) for window in pcm])
    tap("vad_flags", voiced)
    before = (VAD_SMOOTHING - 1) // 2
    padded = np.pad(voiced.astype(float), (before, VAD_SMOOTHING - 1 - before))
    smooth = np.round(np.convolve(padded, np.ones(VAD_SMOOTHING), "valid") / VAD_SMOOTHING).astype(bool)
    # "same" would give as many items as the longer of the two, and a short recording has fewer windows than 7.
    near = np.convolve(smooth, np.ones(2 * VAD_REACH + 1), "full")[VAD_REACH:-VAD_REACH]
    keep = tap("vad", near > 0)
    return samples[np.repeat(keep, VAD_WINDOW)]


# --- Chatterbox --------------------------------------------------------------------------------------------------

TRIM_DB = 20.0
TRIM_FRAME, TRIM_HOP = 2048, 512


@dataclass(frozen=True)
class ChatterboxFrontEnd:
    """chatterbox/models/voice_encoder: trim quiet ends, reflect at the edges, pad the mel spectrum."""

    min_coverage: float = 0.8

    def partials(self, audio: Audio) -> mx.array:
        samples = tap("resampled", audio.resampled(RATE, "kaiser_fast").samples)
        samples = tap("trimmed", _trim_ends(samples))
        if samples.size <= WINDOW // 2:
            raise AudioError("the recording is silent or too short for a speaker embedding")
        if not samples.any():  # upstream embeds nothing all the same
            raise AudioError("the recording is silent")
        mel = tap("mel", _mel(samples, "reflect"))
        count, rest = divmod(max(mel.shape[0] - FRAMES + STEP, 0), STEP)
        if count == 0 or (rest + FRAMES - STEP) / FRAMES >= self.min_coverage:
            count += 1
        end = FRAMES + STEP * (count - 1)
        return _stack(mx.pad(mel, [(0, max(0, end - mel.shape[0])), (0, 0)]), range(0, STEP * count, STEP))


def _trim_ends(samples: np.ndarray) -> np.ndarray:
    """Cut the ends that stay 20 dB below the loudest frame (librosa.effects.trim)."""
    padded = np.pad(samples, TRIM_FRAME // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, TRIM_FRAME)[::TRIM_HOP]
    power = np.mean(np.square(frames), axis=1)
    decibels = 10 * np.log10(np.maximum(1e-10, power) / max(1e-10, power.max()))
    loud = np.flatnonzero(decibels > -TRIM_DB)
    start, end = tap("trim", np.array([loud[0] * TRIM_HOP, min(samples.size, (loud[-1] + 1) * TRIM_HOP)]))
    return samples[start:end]
