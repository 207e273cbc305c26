"""A script said with one model: segments, the joined track, and how they were checked."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytorch_to_mlx.errors import FolderError, UsageError
from pytorch_to_mlx.service.audit import Audited, audit, check_share, full_precision, summary
from pytorch_to_mlx.service.cache import ResultCache
from pytorch_to_mlx.service.job import Job, Result, results_folder
from pytorch_to_mlx.service.narrator import Narrator, Progress
from pytorch_to_mlx.service.script import Segment, as_segments, is_file
from pytorch_to_mlx.service.track import SUBTITLES, Chapter, check_track, join

PAUSE = 0.5
"""Seconds between segments of a track."""
MOST_NAMED = 5
"""Segments that a warning names: a voice's may be of thousands."""


@dataclass(frozen=True)
class Narration:
    """What became of a script.

    Attributes:
        results: one for each segment, in the script's order.
        track: the joined file, if one was asked for.
        chapters: of the track: those segments that were said.
        audited: segments beside themselves at full precision.
    """

    results: Sequence[Result]
    track: Path | None = None
    chapters: Sequence[Chapter] = ()
    audited: Sequence[Audited] = field(default_factory=tuple)

    @property
    def failed(self) -> list[Result]:
        """Segments that could not be said, or did not hold what was checked."""
        return [result for result in self.results if not result.passed]

    @property
    def unchecked(self) -> list[str]:
        """Ids of segments of which a check could not tell, such as those too short to tell whose voice it is."""
        return [result.id for result in self.results if "unchecked" in result.about]

    def as_json(self) -> dict[str, Any]:
        """For pipelines."""
        told: dict[str, Any] = {"segments": [result.as_json() for result in self.results]}
        if self.track is not None:
            told["track"] = {
                "path": str(self.track),
                "subtitles": str(self.track.with_suffix(SUBTITLES)),
                "chapters": [{"id": each.title, "start": each.start, "end": each.end} for each in self.chapters],
            }
        if self.audited:
            told["audit"] = {**summary(self.audited), "segments": [each.as_json() for each in self.audited]}
        if self.unchecked:
            told["unchecked"] = self.unchecked
        return told | {"failed": [result.id for result in self.failed]}


def narrate(
    script: Path | str | Sequence[Segment | dict[str, Any] | str],
    output: Path | str,
    job: Job,
    *,
    track: Path | None = None,
    pause: float = PAUSE,
    audit_share: float | None = None,
    audit_model: Path | None = None,
    cache: ResultCache | None = None,
    dask: str | None = None,
    progress: Progress = lambda result, segment: None,
) -> Narration:
    """Say every segment of a script into a file of its own, `output/ID.wav`.

    What was said before on this machine comes from the cache: so a job that was cut off goes on where it stopped. What
    fails is told in its result; the rest is delivered. What the model warned of is in the results too, also where they
    come from the cache, and is warned of at the end, with the segments' ids.

    Args:
        script: a file (JSON, JSON lines, CSV, SRT, plain text), or its segments: texts, or objects with a `text`.
        output: a folder; made if need be.
        job: the model, and what segments share.
        track: a file of all segments joined, with chapters, and subtitles beside it.
        pause: seconds between its segments.
        audit_share: of the segments, to be said again at full precision.
        audit_model: the folder of full precision; the job's own if None.
        cache: where results are kept; that of this machine if None.
        dask: address of a scheduler whose workers are to do the work.
        progress: called for each segment.

    Raises:
        ScriptError: the script is none.
        PytorchToMlxError: nothing can be said at all: no such model or folder, or not a speech model.
    """
    segments, output = as_segments(script), Path(output)
    read = [Path(script)] if isinstance(script, Path | str) else []
    _check_targets(segments, job, output, track, read)
    if track is not None:
        check_track(track)
        make_folder(track.parent)
    if audit_share is not None:
        check_share(audit_share)
        full_precision(job, audit_model)
    make_folder(output)
    cache = cache or ResultCache(results_folder())
    if dask is not None:
        from pytorch_to_mlx.service.distributed import results_of_workers

        found = results_of_workers(dask, segments, job, output, cache, progress)
    else:
        found = Narrator(job, cache).results(segments, output, progress)
    results = [found[segment.id] for segment in segments]
    chapters, audited = [], []
    if track is not None and any(result.path for result in results):
        chapters = join(results, segments, pause, track)
    if audit_share is not None:
        audited = audit(results, segments, job, cache, share=audit_share, model=audit_model)
    _tell_warnings(results)
    return Narration(results, track if chapters else None, chapters, audited)


def _tell_warnings(results: Sequence[Result]) -> None:
    """Each text once, with the segments that it is of: a voice's is of all that it says."""
    for line in by_text((result.id, text) for result in results for text in result.about.get("warnings", ())):
        warnings.warn(line, stacklevel=3)


def by_text(told: Iterable[tuple[str, str]]) -> list[str]:
    """A line for each text of what is told, (id, text), with the segments that it is of."""
    whose: dict[str, list[str]] = {}
    for segment, text in told:
        whose.setdefault(text, []).append(segment)
    lines = []
    for text, ids in whose.items():
        more = f" and {len(ids) - MOST_NAMED} more" if len(ids) > MOST_NAMED else ""
        lines.append(f"segment{'s' if len(ids) > 1 else ''} {', '.join(ids[:MOST_NAMED])}{more}: {text}")
    return lines


def _check_targets(
    segments: Sequence[Segment], job: Job, output: Path, track: Path | None, read: Sequence[Path]
) -> None:
    """Raises `UsageError` where a file would be written twice, or over one that the job reads."""
    targets = [output / f"{segment.id}{job.suffix}" for segment in segments]
    targets += [] if track is None else [track, track.with_suffix(SUBTITLES)]
    voices = {name for name in (job.voice, *(segment.voice for segment in segments)) if name and is_file(name)}
    sources = {path.resolve() for path in (*read, *map(Path, voices))}
    for path, count in Counter(path.resolve() for path in targets).items():
        if count > 1:
            raise UsageError(f"{path} would be a segment and the track, or its subtitles; name another --track")
        if path in sources:
            raise UsageError(f"{path} is read by the job, and would be written over; name another --output or --track")


def make_folder(path: Path) -> None:
    """Raises `FolderError` if it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FolderError(f"{path}: cannot be a folder ({error.strerror})") from error
