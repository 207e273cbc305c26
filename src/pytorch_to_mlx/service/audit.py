"""A random share of what was said, said again at full precision, and how far the two are from each other."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.audio.spectrum import log_mel
from pytorch_to_mlx.errors import PytorchToMlxError, UsageError
from pytorch_to_mlx.folder import read_config
from pytorch_to_mlx.service.cache import ResultCache
from pytorch_to_mlx.service.job import Job, Result
from pytorch_to_mlx.service.script import Segment
from pytorch_to_mlx.service.speaking import Speaker

DECIBELS = 20 / np.log(10)
MELS, HIGHEST = 40, 8000.0
HOP = 0.02  # seconds


@dataclass(frozen=True)
class Audited:
    """A segment beside itself at full precision.

    Attributes:
        id: the segment's.
        distance: mean difference of mel bands in decibels, where the two are aligned best; 0 for the same sound.
        duration_ratio: the segment's duration by the other's.
        error: why the segment could not be said again; empty if it could.
    """

    id: str
    distance: float = 0.0
    duration_ratio: float = 0.0
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        """For pipelines."""
        return dict(vars(self))


def chosen(results: Sequence[Result], share: float, seed: int) -> list[Result]:
    """A share of the segments that were said, one at least; the same for the same seed.

    Raises:
        UsageError: no share.
    """
    if not 0 < share <= 1:
        raise UsageError(f"--audit {share:.0%} is not within 0 to 100%")
    said = [result for result in results if result.path is not None]
    return random.Random(seed).sample(said, min(len(said), max(1, round(share * len(said)))))


def full_precision(job: Job, model: Path | None) -> Path:
    """The folder that an audit speaks with.

    Raises:
        UsageError: it is quantized, so that its own weights tell nothing.
        FolderError: there is no such folder.
    """
    full = model or job.model
    if read_config(full).quantization is not None:
        raise UsageError(f"{full} is quantized, and what was rounded is gone: give the whole one with --audit-model")
    return full


def audit(
    results: Sequence[Result],
    segments: Sequence[Segment],
    job: Job,
    cache: ResultCache,
    *,
    share: float,
    model: Path | None = None,
    progress: Callable[[Audited], None] = lambda audited: None,
) -> list[Audited]:
    """Say a share of the segments again in float32, with the seeds that they had.

    Args:
        results, segments: of the job, in the script's order.
        job: as it was done.
        cache: whose checksums are used; nothing is put there.
        share: of the segments, up to 1.
        model: a folder of full precision; the job's own, its weights as float32, if None.
        progress: called for each.

    Raises:
        PytorchToMlxError: as `full_precision`, or the model cannot be loaded.
    """
    speaker = Speaker(replace(job, model=full_precision(job, model), check=None), cache)
    speaker.as_float32()
    by_id = {segment.id: segment for segment in segments}
    audited = []
    for result in chosen(results, share, job.seed):
        audited.append(_audited(result, by_id[result.id], speaker))
        progress(audited[-1])
    return audited


def _audited(result: Result, segment: Segment, speaker: Speaker) -> Audited:
    assert result.path is not None
    try:
        again = speaker.again(segment, int(result.about["seed"]))
    except PytorchToMlxError as error:
        return Audited(result.id, error=str(error))
    was = Audio.read(result.path)
    return Audited(result.id, round(mel_distance(was, again), 3), round(was.seconds / again.seconds, 4))


def mel_distance(first: Audio, second: Audio) -> float:
    """Decibels between two recordings: the mean over the alignment that makes it least (dynamic time warping).

    Bands more than 60 dB below the loudest of both count as silent.
    """
    rate = min(first.rate, second.rate)
    bands = [_bands(audio.resampled(rate)) for audio in (first, second)]
    floor = max(each.max() for each in bands) - 60
    one, other = (np.maximum(each, floor) for each in bands)
    cost = np.stack([np.abs(frame - other).mean(axis=1) for frame in one])
    return _least_mean(cost)


def _bands(audio: Audio) -> np.ndarray:
    hop = round(HOP * audio.rate)
    window = 1 << (2 * hop - 1).bit_length()
    samples = np.pad(audio.samples, (0, max(0, window - audio.samples.size)))
    return DECIBELS * np.array(log_mel(mx.array(samples), audio.rate, window, hop, MELS, min(HIGHEST, audio.rate / 2)))


def _least_mean(cost: np.ndarray) -> float:
    """Along the path through a matrix of costs (n, m) whose sum is least: that sum by the steps of the path."""
    rows, columns = cost.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    steps = np.zeros((rows + 1, columns + 1))
    total[0, 0] = 0
    for diagonal in range(rows + columns - 1):  # cells of one are independent of each other
        i = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
        j = diagonal - i
        before = np.stack([total[i, j], total[i, j + 1], total[i + 1, j]])
        best = before.argmin(axis=0)
        came = np.stack([steps[i, j], steps[i, j + 1], steps[i + 1, j]])
        total[i + 1, j + 1] = cost[i, j] + np.take_along_axis(before, best[None], 0)[0]
        steps[i + 1, j + 1] = 1 + np.take_along_axis(came, best[None], 0)[0]
    return float(total[-1, -1] / steps[-1, -1])


def summary(audited: Sequence[Audited]) -> Mapping[str, float]:
    """The mean and the largest distance of those that could be said again."""
    distances = [each.distance for each in audited if not each.error]
    return {"mean": float(np.mean(distances)), "largest": max(distances)} if distances else {}
