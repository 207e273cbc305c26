"""Sample rate conversion by a polyphase filter, as scipy.signal.resample_poly does it with its defaults."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, gcd

import numpy as np

# Zero crossings of the filter on each side, and the shape of its Kaiser window.
CROSSINGS = 10
BETA = 5.0


def resample_polyphase(samples: np.ndarray, source_rate: int, target_rate: int) -> np.ndarray:
    """Convert `samples`, (n,) float32, to `target_rate`: (ceil(n * target_rate / source_rate),) float32."""
    common = gcd(source_rate, target_rate)
    up, down = target_rate // common, source_rate // common
    phases = _filter(up, down)
    taps = phases.shape[1]
    # Output m lies at m * down between samples that stand `up` apart; a filter's phase is how far past the last one.
    place = np.arange(ceil(samples.size * up / down), dtype=np.int64) * down + CROSSINGS * max(up, down)
    phase, last = place % up, place // up
    beyond = max(0, int(last[-1]) + 1 - samples.size) if last.size else 0
    padded = np.pad(samples, (taps, beyond))
    converted = np.zeros(place.size)
    for tap in range(taps):
        converted += phases[phase, tap] * padded[last - tap + taps]
    return converted.astype(np.float32)


@lru_cache(maxsize=8)
def _filter(up: int, down: int) -> np.ndarray:
    """A windowed sinc that passes what both rates can hold, cut into its phases: (up, taps of each).

    Rounded to float32 as scipy does it for float32 samples; sums are float64, of which rounding is the lesser error.
    """
    widest = max(up, down)
    half = CROSSINGS * widest
    sinc = np.sinc(np.arange(-half, half + 1) / widest) * np.kaiser(2 * half + 1, BETA)
    scaled = (sinc / sinc.sum()).astype(np.float32) * np.float32(up)
    taps = ceil(scaled.size / up)
    return np.pad(scaled, (0, taps * up - scaled.size)).reshape(taps, up).T.astype(np.float64)
