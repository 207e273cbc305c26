"""A narration on many machines: groups of segments as tasks of a Dask cluster."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from pytorch_to_mlx.errors import MissingDependencyError, PytorchToMlxError, UsageError
from pytorch_to_mlx.service.cache import ResultCache
from pytorch_to_mlx.service.job import Job, Result, results_folder
from pytorch_to_mlx.service.narrator import Narrator, Progress, groups
from pytorch_to_mlx.service.script import Segment, is_file

SECONDS_TO_CONNECT = 20
RETRIES = 2
"""Of a task that fails on a worker: the next may have what it lacks."""
_ONE_AT_A_TIME = threading.Lock()
"""A worker has several threads, and one model."""


def results_of_workers(
    address: str,
    segments: Sequence[Segment],
    job: Job,
    output: Path,
    cache: ResultCache,
    progress: Progress,
) -> dict[str, Result]:
    """Results by id; files in `output`. What is in the cache here is not sent out, and what comes back goes there.

    Workers need this package, and the model and voices at the same paths. A worker that is lost has its segments said
    by another; what it had finished is in the cache of its machine.

    Raises:
        PytorchToMlxError: no scheduler answers at the address, or it has no worker; or as `Narrator.results`.
        MissingDependencyError: dask.distributed is not installed.
    """
    try:
        from distributed import Client, as_completed
    except ImportError as error:
        raise MissingDependencyError(
            "--dask needs dask.distributed; install it with: pip install 'pytorch-to-mlx[dask]'"
        ) from error
    job, segments = _as_seen_from_anywhere(job), [_with_whole_path(segment) for segment in segments]
    narrator = Narrator(job, cache)
    narrator.check(segments)
    found: dict[str, Result] = {}
    missing: dict[str, Segment] = {}
    alike: list[Segment] = []

    def take(segment: Segment, result: Result) -> None:
        found[segment.id] = result
        progress(result, segment)

    for segment in segments:
        known = narrator.looked_up(segment, output)
        if isinstance(known, Result):
            take(segment, known)
        elif known in missing:
            alike.append(segment)
        else:
            missing[known] = segment
    if not missing:
        return found
    with _connected(address, Client) as client:
        tasks = {}
        for group in groups(list(missing.values())):
            keys = narrator.keys(group)
            tasks[client.submit(say, job, group, keys, pure=False, retries=RETRIES)] = group
        for task in as_completed(list(tasks)):
            group = tasks.pop(task)
            outcome = _outcome(task)
            task.release()  # or the scheduler would have it done again when its worker is lost
            for place, segment in enumerate(group):
                if isinstance(outcome, str):
                    take(segment, Result(segment.id, error=outcome))
                else:
                    result, sound = outcome[place]
                    take(segment, narrator.received(segment, sound, result, output) if sound else result)
    for segment in alike:
        known = narrator.looked_up(segment, output)
        missed = "the segment that is the same as this one failed"
        take(segment, known if isinstance(known, Result) else Result(segment.id, error=missed))
    return found


def say(job: Job, segments: Sequence[Segment], keys: Sequence[str]) -> list[tuple[Result, bytes]]:
    """What a worker does: segments through the cache of its machine, with the bytes of their files.

    Raises:
        UsageError: the keys are others here: the model, a voice, or our version is.
    """
    cache = ResultCache(results_folder())
    fresh = Narrator(job, cache)
    if fresh.keys(segments) != list(keys):
        raise UsageError("a worker has another model, voice or pytorch-to-mlx than where the job was started")
    with _ONE_AT_A_TIME, tempfile.TemporaryDirectory() as room:
        found = _narrator(_Held(job), fresh.model_hash).results(segments, Path(room), lambda result, segment: None)
        results = [found[segment.id] for segment in segments]
        return [(result, result.path.read_bytes() if result.path else b"") for result in results]


@contextmanager
def _connected(address: str, client: Any) -> Iterator[Any]:
    """Raises `UsageError` if no scheduler answers, or it has no worker."""
    try:
        connected = client(address, timeout=SECONDS_TO_CONNECT)
    except (OSError, ValueError) as error:
        raise UsageError(f"--dask {address}: no scheduler answers there; start one with: dask scheduler") from error
    with connected:
        try:
            connected.wait_for_workers(1, timeout=SECONDS_TO_CONNECT)
        except TimeoutError as error:
            raise UsageError(f"--dask {address}: has no worker; start some with: dask worker {address}") from error
        yield connected


def _as_seen_from_anywhere(job: Job) -> Job:
    """With whole paths: a worker runs in another folder."""
    checks = tuple(each.seen_from_anywhere() for each in job.checks)
    voice = str(Path(job.voice).resolve()) if job.voice is not None and is_file(job.voice) else job.voice
    fallback = job.fallback and job.fallback.resolve()
    return replace(job, model=job.model.resolve(), voice=voice, checks=checks, fallback=fallback)


def _with_whole_path(segment: Segment) -> Segment:
    if segment.voice is None or not is_file(segment.voice):
        return segment
    return segment.model_copy(update={"voice": str(Path(segment.voice).resolve())})


class _Held:
    """A job as a key: equal jobs are one, though their settings cannot be hashed."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def __hash__(self) -> int:
        return hash(self.job.model)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and other.job == self.job


@lru_cache(maxsize=1)
def _narrator(held: _Held, model_hash: str) -> Narrator:
    """Kept with its model from task to task; another where the folder has other bytes."""
    return Narrator(held.job, ResultCache(results_folder()))


def _outcome(task: Any) -> list[tuple[Result, bytes]] | str:
    """What came of a task, or why nothing did."""
    try:
        return task.result()
    except PytorchToMlxError as error:
        return str(error)
    except Exception as error:
        if type(error).__name__ == "KilledWorker":
            return "its workers died, one after the other; see their logs"
        return f"{type(error).__name__}: {error}".rstrip(": ")
