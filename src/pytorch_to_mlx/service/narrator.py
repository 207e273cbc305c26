"""Segments said through a cache: taken from it where they were said before, the others made and kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import mlx.core as mx

from pytorch_to_mlx.errors import PytorchToMlxError
from pytorch_to_mlx.service.cache import ResultCache
from pytorch_to_mlx.service.job import Job, Result
from pytorch_to_mlx.service.script import Segment
from pytorch_to_mlx.service.speaking import Speaker, Spoken, lacks_memory, said

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

    def __init__(self, job: Job, cache: ResultCache) -> None:
        self._job, self._cache = job, cache
        self._speaker = Speaker(job, cache)

    def results(self, segments: Sequence[Segment], folder: Path, progress: Progress) -> dict[str, Result]:
        """Results by id; files in `folder`.

        Raises:
            PytorchToMlxError: the model is none, or cannot be loaded.
        """
        _ = self._speaker.folder_hash  # no such model: told once, not for each segment
        found: dict[str, Result] = {}
        busy: list[Segment] = []
        for group in groups(segments):
            results = self._group(group, folder)
            for segment in group:
                if segment.id in results:
                    progress(results[segment.id], segment)
                else:
                    busy.append(segment)
            found |= results
            mx.clear_cache()  # or memory grows with the variety of lengths
        for segment in busy:  # another process was at them, or another segment is the same
            found |= self._group([segment], folder, wait=True)
            progress(found[segment.id], segment)
        return found

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

    def looked_up(self, segment: Segment, folder: Path) -> Result | str:
        """The result if it is in the cache, or if the segment cannot be said; otherwise its key."""
        started = time.monotonic()
        try:
            key = self._speaker.key(segment)
            about = self._cache.fetch(key, self._path(segment, folder))
        except PytorchToMlxError as error:
            return Result(segment.id, error=str(error))
        if about is None:
            return key
        return self._result(segment, folder, about, from_cache=True, seconds=time.monotonic() - started)

    def _made(self, segments: Sequence[Segment], folder: Path) -> dict[str, Result]:
        """Of segments that are not in the cache: put there, and at their places."""
        if not segments:
            return {}
        size, started = self._speaker.at_once, time.monotonic()
        if len(segments) > size:
            return self._made(segments[:size], folder) | self._made(segments[size:], folder)
        try:
            spoken = self._speaker.speak(segments)
        except Exception as error:  # whatever one segment does to a model, the others are to be said
            if lacks_memory(error):
                mx.clear_cache()
            if len(segments) > 1:
                return {segment.id: self._made([segment], folder)[segment.id] for segment in segments}
            return {segments[0].id: self._failed(segments[0], error, folder)}
        seconds = (time.monotonic() - started) / len(segments)
        return {
            segment.id: self._kept(segment, each, seconds, folder)
            for segment, each in zip(segments, spoken, strict=True)
        }

    def _kept(self, segment: Segment, spoken: Spoken, seconds: float, folder: Path) -> Result:
        def write(draft: Path) -> None:
            named = draft.with_suffix(self._job.suffix)
            spoken.audio.write(named)
            named.replace(draft)

        return self.kept(segment, write, {**spoken.about, "said": said(segment, self._job)}, seconds, folder)

    def kept(
        self, segment: Segment, write: Callable[[Path], object], about: Mapping[str, Any], seconds: float, folder: Path
    ) -> Result:
        """Put what `write` writes into the cache, and from there into `folder`."""
        key = self._speaker.key(segment)
        self._cache.store(key, write, about)
        told = self._cache.fetch(key, self._path(segment, folder))
        if told is None:
            return Result(segment.id, error=f"{self._cache.folder} does not keep what is put there; see its disk")
        return self._result(segment, folder, told, from_cache=False, seconds=seconds)

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

    def _failed(self, segment: Segment, error: Exception, folder: Path) -> Result:
        if lacks_memory(error):
            if self._fallback is not None:
                result = self._fallback._group([segment], folder, wait=True)[segment.id]
                return replace(result, about={**result.about, "fallback": True})
            return Result(segment.id, error=f"out of memory; give a smaller model with --fallback-model ({error})")
        known = isinstance(error, PytorchToMlxError)
        return Result(segment.id, error=str(error) if known else f"{type(error).__name__}: {error} (unexpected)")

    @cached_property
    def _fallback(self) -> Narrator | None:
        folder = self._job.fallback
        return None if folder is None else Narrator(replace(self._job, model=folder, fallback=None), self._cache)

    def _path(self, segment: Segment, folder: Path) -> Path:
        return folder / f"{segment.id}{self._job.suffix}"
