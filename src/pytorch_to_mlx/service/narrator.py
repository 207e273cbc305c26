"""Segments said through a cache: taken from it where they were said before, the others made and kept."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx

from pytorch_to_mlx.errors import CacheError, MissingDependencyError, PytorchToMlxError
from pytorch_to_mlx.files import drafted
from pytorch_to_mlx.service.cache import ResultCache
from pytorch_to_mlx.service.checks import Check, checks_of
from pytorch_to_mlx.service.job import Job, Result
from pytorch_to_mlx.service.memory import lacks_memory
from pytorch_to_mlx.service.script import Segment
from pytorch_to_mlx.service.speaking import RETRY_ERROR, Speaker, Spoken, said

OUT_OF_MEMORY = "out_of_memory"
"""What is told of a segment that memory did not suffice for."""
AHEAD = 4
"""Segments that are claimed together: as many as models say at once."""
Progress = Callable[[Result, Segment], None]
"""Called with each segment's result as it comes."""


def groups(segments: Sequence[Segment]) -> list[list[Segment]]:
    """Segments that are best said together: alike in length, so that none waits for the others' ends."""
    ordered = sorted(segments, key=lambda segment: len(segment.text))
    return [ordered[first : first + AHEAD] for first in range(0, len(ordered), AHEAD)]


class Narrator:
    """Says segments for a job, through a cache."""

    def __init__(self, job: Job, cache: ResultCache, checks: Sequence[Check] | None = None) -> None:
        """For a job; `checks` are another narrator's of the same, with the models that they judge with."""
        self._job, self._cache = job, cache
        self._checks = checks_of(job, cache) if checks is None else checks
        self._speaker = Speaker(job, cache, self._checks)
        self._too_large = ""

    def keys(self, segments: Sequence[Segment]) -> list[str]:
        """Of the segments' results.

        Raises:
            PytorchToMlxError: the model or a voice cannot be read.
        """
        return [self._speaker.key(segment) for segment in segments]

    @property
    def model_hash(self) -> str:
        """Of all bytes that the model computes with. Raises `FolderError` if there is no such folder."""
        return self._speaker.folder_hash

    def results(self, segments: Sequence[Segment], folder: Path, progress: Progress) -> dict[str, Result]:
        """Results by id; files in `folder`.

        Raises:
            PytorchToMlxError: a model is none, or cannot be loaded, the check does not fit the voices, or a library is
                missing.
        """
        self.check(segments)
        found: dict[str, Result] = {}
        short: list[Segment] = []

        def take(segment: Segment, result: Result) -> None:
            if result.about.get(OUT_OF_MEMORY) and self._job.fallback is not None:
                short.append(segment)
            else:
                found[segment.id] = result
                progress(result, segment)

        busy: list[Segment] = []
        for group in groups(segments):
            results = self._group(group, folder)
            for segment in group:
                if segment.id in results:
                    take(segment, results[segment.id])
                else:
                    busy.append(segment)
            mx.clear_cache()  # or memory grows with the variety of lengths
        for segment in busy:  # another process was at them, or another segment is the same
            take(segment, self._group([segment], folder, wait=True)[segment.id])
        return found | self._fallen_back(short, folder, progress)

    def check(self, segments: Sequence[Segment]) -> None:
        """Whether the job can be done at all, before the work rather than after it.

        Raises:
            PytorchToMlxError: as `results`.
        """
        _ = self.model_hash
        self._speaker.check(segments)
        if self._job.fallback is not None:
            self._narrator_of_fallback(self._job.fallback)

    def looked_up(self, segment: Segment, folder: Path) -> Result | str:
        """The result if it is in the cache, or if the segment cannot be said; otherwise its key."""
        started = time.monotonic()
        try:
            key = self._speaker.key(segment)
            about = self._cache.fetch(key, self._path(segment, folder))
            if about is None:
                return key
            return self._result(segment, folder, about, from_cache=True, seconds=time.monotonic() - started)
        except MissingDependencyError:  # the others lack it as well
            raise
        except (PytorchToMlxError, OSError) as error:
            return Result(segment.id, error=str(error))

    def received(self, segment: Segment, sound: bytes, result: Result, folder: Path) -> Result:
        """What another machine said, at its place; in the cache too, unless its fallback said it, another model."""
        about = {**result.about, "said": result.said}
        path = self._path(segment, folder)
        try:
            with drafted(path) as draft:
                draft.write_bytes(sound)
            if not result.about.get("fallback"):
                about = self._cached(segment, path, about)
            return self._result(segment, folder, about, from_cache=result.from_cache, seconds=result.seconds)
        except OSError as error:
            return Result(segment.id, error=f"{path}: cannot be written ({error.strerror})")

    def _group(self, group: Sequence[Segment], folder: Path, *, wait: bool = False) -> dict[str, Result]:
        """Of the segments that no other process is at, unless there is waiting for those."""
        known = {segment.id: self.looked_up(segment, folder) for segment in group}
        found = {id_: each for id_, each in known.items() if isinstance(each, Result)}
        wanted = {key: each for each in group if isinstance(key := known[each.id], str)}  # one of those that are alike
        with self._cache.claimed(wanted, wait=wait) as free:
            mine: list[Segment] = []
            for key, segment in wanted.items():
                if key in free:
                    again = self.looked_up(segment, folder)
                    if isinstance(again, Result):  # made since
                        found[segment.id] = again
                    else:
                        mine.append(segment)
            return found | self._made(mine, folder)

    def _made(self, segments: Sequence[Segment], folder: Path) -> dict[str, Result]:
        """Of segments that are not in the cache: at their places, and put there."""
        if not segments or self._too_large:
            return {segment.id: _without_memory(segment, self._too_large) for segment in segments}
        try:
            size = self._speaker.at_once  # loads the model
        except Exception as error:
            if not lacks_memory(error):
                raise
            self._too_large = str(error)
            return self._made(segments, folder)
        if len(segments) > size:
            return self._made(segments[:size], folder) | self._made(segments[size:], folder)
        started, failure = time.monotonic(), None
        try:
            spoken = self._speaker.speak(segments)
        except MissingDependencyError:
            raise
        except Exception as error:  # whatever one segment does to a model, the others are to be said
            failure = _failed(segments[0], error)
            spoken = []
        if failure is not None:  # out of the handler, whose traceback holds on to memory
            mx.clear_cache()
            if len(segments) > 1:
                return {segment.id: self._made([segment], folder)[segment.id] for segment in segments}
            return {failure.id: failure}
        seconds = (time.monotonic() - started) / len(segments)
        return {
            segment.id: self._delivered(segment, each, seconds, folder)
            for segment, each in zip(segments, spoken, strict=True)
        }

    def _delivered(self, segment: Segment, spoken: Spoken, seconds: float, folder: Path) -> Result:
        """At its place first: whatever becomes of the cache, what was computed is not lost."""
        path = self._path(segment, folder)
        try:
            with drafted(path) as draft:
                spoken.audio.write(draft)
            about = self._cached(segment, path, {**spoken.about, "said": said(segment, self._job)})
            return self._result(segment, folder, about, from_cache=False, seconds=seconds)
        except Exception as error:  # a full disk, say, which the others may not need
            return _failed(segment, error)

    def _cached(self, segment: Segment, path: Path, about: Mapping[str, Any]) -> Mapping[str, Any]:
        if RETRY_ERROR in about:  # the next job may have what this one lacked
            return {**about, "uncached": f"a retry failed ({about[RETRY_ERROR]})"}
        try:
            self._cache.store(self._speaker.key(segment), lambda draft: shutil.copyfile(path, draft), about)
        except (CacheError, OSError) as error:
            return {**about, "uncached": str(error)}
        return about

    def _result(
        self, segment: Segment, folder: Path, about: Mapping[str, Any], *, from_cache: bool, seconds: float
    ) -> Result:
        import soundfile

        path = self._path(segment, folder)
        header = soundfile.info(path)
        told = {name: value for name, value in about.items() if name != "said"}
        return Result(
            segment.id, path, header.duration, header.samplerate, from_cache, seconds, about["said"], about=told
        )

    def _fallen_back(self, segments: Sequence[Segment], folder: Path, progress: Progress) -> dict[str, Result]:
        """Of segments that memory did not suffice for, by the smaller model; no claim is held, nor the larger model."""
        if not segments or self._job.fallback is None:
            return {}
        self._speaker.unload()
        found: dict[str, Result] = {}

        def mark(result: Result, segment: Segment) -> None:
            found[segment.id] = replace(result, about={**result.about, "fallback": True})
            progress(found[segment.id], segment)

        try:
            self._narrator_of_fallback(self._job.fallback).results(segments, folder, mark)
        except PytorchToMlxError as error:
            for segment in segments:
                if segment.id not in found:
                    mark(Result(segment.id, error=f"--fallback-model: {error}"), segment)
        return found

    def _narrator_of_fallback(self, folder: Path) -> Narrator:
        narrator = Narrator(replace(self._job, model=folder, fallback=None), self._cache, self._checks)
        _ = narrator.model_hash
        return narrator

    def _path(self, segment: Segment, folder: Path) -> Path:
        return folder / f"{segment.id}{self._job.suffix}"


def _failed(segment: Segment, error: Exception) -> Result:
    if lacks_memory(error):
        return _without_memory(segment, str(error))
    known = isinstance(error, PytorchToMlxError)
    return Result(segment.id, error=str(error) if known else f"{type(error).__name__}: {error} (unexpected)")


def _without_memory(segment: Segment, reason: str) -> Result:
    message = f"out of memory; give a smaller model with --fallback-model ({reason})"
    return Result(segment.id, error=message, about={OUT_OF_MEMORY: True})
