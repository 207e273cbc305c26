"""Sample rate conversion by a windowed sinc, as torchaudio.functional.resample does it with its defaults."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, gcd

import numpy as np

CROSSINGS = 6
ROLLOFF = 0.99


def resample_sinc(samples: np.ndarray, source_rate: int, target_rate: int) -> np.ndarray:
    """Convert `samples`, (n,) float32, to `target_rate`: (ceil(n * target_rate / source_rate),) float32."""
    common = gcd(source_rate, target_rate)
    source, target = source_rate // common, target_rate // common
    kernels = _kernels(source, target)
    width = (kernels.shape[1] - source) // 2
    padded = np.pad(samples, (width, width + source))
    frames = np.lib.stride_tricks.sliding_window_view(padded, kernels.shape[1])[::source]
    return (frames @ kernels.T).reshape(-1)[: ceil(samples.size * target / source)]


@lru_cache(maxsize=8)
def _kernels(source: int, target: int) -> np.ndarray:
    """A Hann-windowed sinc for each of `target` outputs that fall on `source` inputs: (target, taps) float32."""
    cutoff = min(source, target) * ROLLOFF
    width = ceil(CROSSINGS * source / cutoff)
    # Upstream's phases are float32, which a sinc of many zero crossings feels.
    phases = (np.arange(0, -target, -1, dtype=np.float32) / np.float32(target))[:, None]
    time = np.clip((phases + np.arange(-width, width + source) / source) * cutoff, -CROSSINGS, CROSSINGS)
    window = np.square(np.cos(time * np.pi / CROSSINGS / 2))
    return (np.sinc(time) * window * (cutoff / source)).astype(np.float32)
