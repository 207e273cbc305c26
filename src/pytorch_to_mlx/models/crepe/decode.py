"""From bin probabilities to pitch, as torchcrepe/decode.py and convert.py: argmax, weighted and Viterbi decoding.

Decoding runs on the host, once per recording: it is sequential and small (360 bins a frame).
"""

from __future__ import annotations

from functools import cache

import numpy as np

from pytorch_to_mlx.errors import UsageError
from pytorch_to_mlx.models.crepe.network import PITCH_BINS
from pytorch_to_mlx.tasks import Decoder

CENTS_PER_BIN = 20
FIRST_BIN_CENTS = 1997.3794084376191
# Upstream's window around the maximum, and how far pitch may jump between frames, in bins.
WEIGHTED_REACH = 4
TRANSITION_REACH = 12


def bin_range(fmin: float, fmax: float) -> tuple[int, int]:
    """First and one past the last bin between two frequencies in Hz.

    Raises:
        UsageError: a frequency is not a positive number, or the range is empty or begins below the first bin
            (31.7 Hz), where upstream's slices wrap around.
    """
    with np.errstate(all="ignore"):
        octaves = np.log2(np.array([fmin, fmax]).astype(np.float32) / np.float32(10))
    for flag, hertz, finite in zip(("--fmin", "--fmax"), (fmin, fmax), np.isfinite(octaves), strict=True):
        if not finite:
            raise UsageError(f"{flag} {hertz:g}: a positive frequency in Hz is needed")
    bins = (1200 * octaves - FIRST_BIN_CENTS) / CENTS_PER_BIN
    low, high = int(np.floor(bins[0])), int(np.ceil(bins[1]))
    if low < 0:
        raise UsageError(f"--fmin {fmin:g} lies below CREPE's lowest bin at 31.7 Hz")
    if low >= min(high, PITCH_BINS):
        raise UsageError(f"no pitch bin lies between --fmin {fmin:g} and --fmax {fmax:g}")
    return low, high


def bins_to_cents(bins: np.ndarray) -> np.ndarray:
    """Cents above 10 Hz of each bin, float32."""
    return (CENTS_PER_BIN * bins + FIRST_BIN_CENTS).astype(np.float32)


def cents_to_frequency(cents: np.ndarray) -> np.ndarray:
    """Cents above 10 Hz to Hz."""
    return (10 * np.exp2(cents / np.float32(1200))).astype(np.float32)


def decode(
    probabilities: np.ndarray, decoder: Decoder, fmin: float, fmax: float, dither: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decode one recording.

    Args:
        probabilities: (frames, 360) float32.
        decoder: "argmax", "weighted" (mean of the nine bins around the maximum) or "viterbi" (smoothest path).
        fmin, fmax: bins outside are never chosen.
        dither: cents to add, as upstream does at random: (frames,), or (360,) for "weighted"; None adds nothing.

    Returns:
        Bins (frames,) int64, pitch in Hz (frames,) float32, periodicity (frames,) float32.

    Raises:
        UsageError: an empty frequency range, or dither of another shape.
    """
    low, high = bin_range(fmin, fmax)
    allowed = np.full_like(probabilities, -np.inf)
    allowed[:, low:high] = probabilities[:, low:high]
    if dither is None:
        dither = np.zeros(PITCH_BINS if decoder == "weighted" else len(allowed), np.float32)
    elif dither.shape != ((PITCH_BINS,) if decoder == "weighted" else (len(allowed),)):
        raise UsageError(
            f"dither for {decoder} has shape {dither.shape}; one value a frame (weighted: a bin) is needed"
        )
    bins = _viterbi(allowed) if decoder == "viterbi" else allowed.argmax(axis=1)
    if decoder == "weighted":
        cents = _weighted_cents(allowed, bins, bins_to_cents(np.arange(PITCH_BINS)) + dither)
    else:
        cents = bins_to_cents(bins) + dither
    pitch = cents_to_frequency(cents.astype(np.float32))
    return bins, pitch, np.take_along_axis(allowed, bins[:, None], axis=1)[:, 0]


def _weighted_cents(allowed: np.ndarray, bins: np.ndarray, cents: np.ndarray) -> np.ndarray:
    """Mean of `cents`, weighted by the sigmoid (of probabilities, as upstream has it) near each maximum."""
    window = bins[:, None] + np.arange(-WEIGHTED_REACH, WEIGHTED_REACH + 1)
    inside = (window >= 0) & (window < PITCH_BINS)
    window = window.clip(0, PITCH_BINS - 1)
    values = np.where(inside, np.take_along_axis(allowed, window, axis=1), -np.inf).astype(np.float64)
    weights = 1 / (1 + np.exp(-values))
    return (weights * cents[window]).sum(axis=1) / weights.sum(axis=1)


@cache
def _log_transition() -> np.ndarray:
    """Log probability of moving from bin to bin, (360, 360) symmetric in form, rows normalised."""
    bins = np.arange(PITCH_BINS)
    transition = np.maximum(TRANSITION_REACH - np.abs(bins[:, None] - bins), 0).astype(np.float64)
    transition /= transition.sum(axis=1, keepdims=True)
    return np.log(transition + np.finfo(np.float32).tiny)


def _viterbi(allowed: np.ndarray) -> np.ndarray:
    """Most likely path of bins under the softmax of `allowed` (Viterbi 1967, as librosa.sequence.viterbi)."""
    shifted = np.exp(allowed - allowed.max(axis=1, keepdims=True))
    log_prob = np.log(shifted / shifted.sum(axis=1, keepdims=True) + np.finfo(np.float32).tiny)
    from_to = np.ascontiguousarray(_log_transition().T)
    best = np.empty(allowed.shape, np.int64)
    value = log_prob[0] + np.log(1 / PITCH_BINS)
    every = np.arange(PITCH_BINS)
    for t in range(1, len(allowed)):
        candidates = value + from_to
        best[t] = candidates.argmax(axis=1)
        value = log_prob[t] + candidates[every, best[t]]
    path = np.empty(len(allowed), np.int64)
    path[-1] = value.argmax()
    for t in range(len(allowed) - 1, 0, -1):
        path[t - 1] = best[t, path[t]]
    return path
