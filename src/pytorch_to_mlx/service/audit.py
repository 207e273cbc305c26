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
from pytorch_to_mlx.errors import UsageError
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
        distance: mean difference of mel bands in decibels, where the two are aligned best; 0 for the same sound; None
            where there is an error.
        duration_ratio: the segment's duration by the other's; None where there is an error.
        error: why the segment could not be said again; empty if it could.
    """

    id: str
    distance: float | None = None
    duration_ratio: float | None = None
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        """For pipelines."""
        return dict(vars(self))


def check_share(share: float) -> None:
    """Raises `UsageError` for no share."""
    if not 0 < share <= 1:
        raise UsageError(f"--audit {share:.0%} is not within 0 to 100%")


def chosen(results: Sequence[Result], share: float, seed: int) -> list[Result]:
    """A share of the segments that were said, one at least; the same for the same seed.

    Raises:
        UsageError: no share.
    """
    check_share(share)
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
        PytorchToMlxError: as `full_precision`, or there is no share.
    """
    speaker = Speaker(replace(job, model=full_precision(job, model), checks=()), cache)
    by_id = {segment.id: segment for segment in segments}
    audited = []
    for result in chosen(results, share, job.seed):
        audited.append(_audited(result, by_id[result.id], speaker))
        progress(audited[-1])
    return audited


def _audited(result: Result, segment: Segment, speaker: Speaker) -> Audited:
    assert result.path is not None
    try:
        speaker.as_float32()
        again = speaker.again(segment, int(result.about["seed"]))
    except Exception as error:  # an audit that fails, for want of memory say, spoils nothing that was said
        return Audited(result.id, error=str(error) or type(error).__name__)
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
    return _least_mean(one, other)


def _bands(audio: Audio) -> np.ndarray:
    hop = round(HOP * audio.rate)
    window = 1 << (2 * hop - 1).bit_length()
    samples = np.pad(audio.samples, (0, max(0, window - audio.samples.size)))
    return DECIBELS * np.array(log_mel(mx.array(samples), audio.rate, window, hop, MELS, min(HIGHEST, audio.rate / 2)))


def _least_mean(one: np.ndarray, other: np.ndarray) -> float:
    """Of the differences between frames (n, bands) and (m, bands), along the alignment whose sum is least.

    Diagonal by diagonal, of which the last two are kept: cells of one do not depend on each other.
    """
    rows, columns = len(one), len(other)
    nowhere = np.full(rows + 1, np.inf)
    # By row, shifted by one: the sum and the steps of the best way to a cell of the diagonals before.
    last, last_steps = nowhere.copy(), np.zeros(rows + 1)
    before, before_steps = nowhere.copy(), np.zeros(rows + 1)
    before[0] = 0.0  # the way to the first cell begins here
    for diagonal in range(rows + columns - 1):
        i = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
        cost = np.abs(one[i] - other[diagonal - i]).mean(axis=1)
        ways = np.stack([before[i], last[i], last[i + 1]])  # from both, from the row before, from the column before
        best = ways.argmin(axis=0)[None]
        steps = np.take_along_axis(np.stack([before_steps[i], last_steps[i], last_steps[i + 1]]), best, 0)[0]
        total, total_steps = nowhere.copy(), np.zeros(rows + 1)
        total[i + 1] = cost + np.take_along_axis(ways, best, 0)[0]
        total_steps[i + 1] = steps + 1
        before, before_steps, last, last_steps = last, last_steps, total, total_steps
    return float(last[rows] / last_steps[rows])


def summary(audited: Sequence[Audited]) -> Mapping[str, float]:
    """The mean and the largest distance of those that could be said again."""
    distances = [each.distance for each in audited if each.distance is not None]
    return {"mean": float(np.mean(distances)), "largest": max(distances)} if distances else {}
