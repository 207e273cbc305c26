"""Speech faster or slower at its own pitch, by Signalsmith Stretch (the library python-stretch)."""

from __future__ import annotations

import numpy as np

from pytorch_to_mlx.errors import MissingDependencyError, UsageError

SLOWEST, FASTEST = 0.5, 2.0
SEED = 0
"""The library dithers phases; the same sound shall come out each time."""


def check_speed(speed: float, what: str) -> None:
    """Raises `UsageError` for a speed that speech does not survive; `what` names it."""
    if not SLOWEST <= speed <= FASTEST:
        raise UsageError(f"{what} {speed:g} is not within {SLOWEST:g} to {FASTEST:g}")


def change_tempo(samples: np.ndarray, rate: int, speed: float) -> np.ndarray:
    """Samples (n,) as so many, divided by `speed`, at the same pitch.

    Raises:
        MissingDependencyError: python-stretch is not installed.
    """
    if speed == 1 or not samples.size:
        return samples
    try:
        from python_stretch import Signalsmith
    except ImportError as error:
        raise MissingDependencyError(
            "another speed needs python-stretch; install it with: pip install 'pytorch-to-mlx[narrate]'"
        ) from error
    stretch = Signalsmith.Stretch(SEED)
    stretch.preset(1, rate)
    stretch.setTimeFactor(speed)
    changed = np.asarray(stretch.process(np.ascontiguousarray(samples[None], np.float32)))[0]
    peak = max(1.0, float(np.abs(changed).max(initial=0)))  # phases add up otherwise than in the original
    return changed / peak
