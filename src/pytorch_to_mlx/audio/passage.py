"""Where people speak in a recording, and its best passage, for models that hear a voice from a few seconds."""

from __future__ import annotations

import numpy as np

FRAME = 0.02  # seconds
QUIET = 35.0  # decibels below what is loud in the recording: a pause
BREATH = 25.0  # the same, with breath and reverberation
LOUD = 10  # frames: what is as loud as these is no click
NOISE, ABOVE_NOISE, BELOW_LOUD = 0.1, 4.0, 8.0  # the quietest tenth of frames; decibels
CLIPPED = 0.999


def best_passage(samples: np.ndarray, rate: int, seconds: float) -> tuple[int, int]:
    """Where to cut: the passage with most speech, least clipping, and ends that lie in pauses.

    Args:
        samples: (n,) float32.
        rate: samples per second.
        seconds: how long, at most; a passage ends where speech does.

    Returns:
        Its first sample, and the one after its last; all of a recording that is no longer.
    """
    length = round(seconds * rate)
    size = max(1, round(FRAME * rate))
    frames = samples.size // size
    if samples.size <= length or frames == 0:
        return 0, samples.size
    framed = samples[: frames * size].reshape(frames, size)
    level = _levels(framed)
    speech = level > np.quantile(level, 0.95) - QUIET
    clipped = (np.abs(framed) >= CLIPPED).mean(axis=1)
    window = max(1, length // size)
    worth = np.concatenate([[0.0], np.cumsum(speech - 20 * clipped)])
    pause = np.concatenate([[True], ~(speech[1:] & speech[:-1]), [True]])  # whether no word is cut before a frame
    starts = np.arange(frames - window + 1)
    score = (worth[starts + window] - worth[starts]) / window + 0.1 * pause[starts] + 0.1 * pause[starts + window]
    first = int(np.argmax(score))
    last = first + window
    while last > first + window // 2 and not pause[last]:  # back to where a word ends
        last -= 1
    last = last if pause[last] else first + window
    return first * size, last * size


def seconds_of_speech(samples: np.ndarray, rate: int) -> float:
    """How long somebody speaks in a recording (n,) float32, pauses left out, be they silent or noisy."""
    size = max(1, round(FRAME * rate))
    frames = samples.size // size
    if frames < LOUD:
        return samples.size / rate
    level = _levels(samples[: frames * size].reshape(frames, size))
    loud = np.partition(level, -LOUD)[-LOUD]
    noisy = min(np.quantile(level, NOISE) + ABOVE_NOISE, loud - BELOW_LOUD)
    return float(np.sum(level > max(loud - BREATH, noisy))) * size / rate


def _levels(framed: np.ndarray) -> np.ndarray:
    """Decibels of frames (frames, samples)."""
    return 10 * np.log10(np.mean(framed.astype(np.float64) ** 2, axis=1) + 1e-12)
