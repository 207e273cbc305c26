"""Sample rate conversion, by the library that upstream uses: results must match, not merely sound alike."""

from __future__ import annotations

from math import ceil, floor
from typing import Literal

import numpy as np

from pytorch_to_mlx.audio.sinc import resample_sinc
from pytorch_to_mlx.errors import AudioError, MissingDependencyError

Method = Literal["soxr_hq", "kaiser_best", "kaiser_fast", "sinc_hann"]


def resample(
    samples: np.ndarray,
    source_rate: int,
    target_rate: int,
    method: Method = "soxr_hq",
    rounding: Literal["up", "down"] = "up",
) -> np.ndarray:
    """Convert `samples`, shape (n,) float32, to `target_rate`.

    `soxr_hq` is librosa's default; the two Kaiser windows are resampy's, `sinc_hann` is torchaudio's default. The
    result's length, n * ratio, is rounded up as librosa and torchaudio do it, or down as resampy does.

    Raises:
        AudioError: less than one sample at `target_rate`.
        MissingDependencyError: `resampy` is needed and absent.
    """
    if samples.size * target_rate < source_rate:
        raise AudioError(f"the recording is too short to resample from {source_rate} to {target_rate} Hz")
    # librosa multiplies by the rounded ratio, which at 22050 or 44100 Hz often makes one sample more.
    length = ceil(samples.size * (target_rate / source_rate))
    if rounding == "down":
        length = floor(samples.size * target_rate / source_rate)
    elif method == "sinc_hann":
        length = ceil(samples.size * target_rate / source_rate)
    if method == "soxr_hq":
        import soxr

        converted = soxr.resample(samples, source_rate, target_rate, quality=method)
    elif method == "sinc_hann":
        converted = resample_sinc(samples, source_rate, target_rate)
    else:
        try:
            import resampy
        except ImportError as error:
            raise MissingDependencyError(
                f"resampling from {source_rate} to {target_rate} Hz as upstream does needs resampy: pip install resampy"
            ) from error
        converted = resampy.resample(samples, source_rate, target_rate, filter=method)
    converted = np.asarray(converted, dtype=np.float32)[:length]
    return np.pad(converted, (0, length - converted.size))
