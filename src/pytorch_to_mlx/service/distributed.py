"""A narration on many machines: groups of segments as tasks of a Dask cluster."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pytorch_to_mlx.errors import MissingDependencyError, UsageError
from pytorch_to_mlx.service.cache import ResultCache
from pytorch_to_mlx.service.job import Job, Result, results_folder
from pytorch_to_mlx.service.narrator import Narrator, groups
from pytorch_to_mlx.service.script import Segment

SECONDS_TO_CONNECT = 20
_ONE_AT_A_TIME = threading.Lock()
"""A worker has several threads, and one model."""


def results_of_workers(
    address: str,
    segments: Sequence[Segment],
    job: Job,
    output: Path,
    cache: ResultCache,
    progress: Callable[[Result, Segment], None],
) -> dict[str, Result]:
    """Results by id; files in `output`. What is in the cache here is not sent out, and what comes back goes there.

    Workers need this package, and the model and voices at the same paths. A worker that is lost has its segments said
    by another; what it had finished is in the cache of its machine.

    Raises:
        UsageError: no scheduler answers at the address.
        MissingDependencyError: dask.distributed is not installed.
    """
    try:
        from distributed import Client, as_completed
    except ImportError as error:
        raise MissingDependencyError(
            "--dask needs dask.distributed; install it with: pip install 'pytorch-to-mlx[dask]'"
        ) from error
    narrator = Narrator(job, cache)
    found: dict[str, Result] = {}
    missing: list[Segment] = []
    for segment in segments:
        known = narrator.looked_up(segment, output)
        if isinstance(known, Result):
            found[segment.id] = known
            progress(known, segment)
        else:
            missing.append(segment)
    if not missing:
        return found
    try:
        client: Any = Client(address, timeout=SECONDS_TO_CONNECT)
    except (OSError, ValueError) as error:
        raise UsageError(f"--dask {address}: no scheduler answers there; start one with: dask scheduler") from error
    with client:
        tasks = {client.submit(say, job, group, pure=False): group for group in groups(missing)}
        for task in as_completed(list(tasks)):
            group, error = tasks[task], task.exception()
            said = [(Result(each.id, error=_reason(error)), b"") for each in group] if error else task.result()
            for segment, (result, sound) in zip(group, said, strict=True):
                if sound:
                    write = _writer(sound)
                    result = narrator.kept(
                        segment, write, {**result.about, "said": result.said}, result.seconds, output
                    )
                found[segment.id] = result
                progress(result, segment)
    return found


def say(job: Job, segments: Sequence[Segment]) -> list[tuple[Result, bytes]]:
    """What a worker does: segments through the cache of its machine, with the bytes of their files."""
    with _ONE_AT_A_TIME, tempfile.TemporaryDirectory() as room:
        found = _narrator(_Held(job)).results(segments, Path(room), lambda result, segment: None)
        results = [found[segment.id] for segment in segments]
        return [(result, result.path.read_bytes() if result.path else b"") for result in results]


class _Held:
    """A job as a key: equal jobs are one, though their settings cannot be hashed."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def __hash__(self) -> int:
        return hash(self.job.model)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and other.job == self.job


@lru_cache(maxsize=1)
def _narrator(held: _Held) -> Narrator:
    return Narrator(held.job, ResultCache(results_folder()))


def _writer(sound: bytes) -> Callable[[Path], object]:
    return lambda draft: draft.write_bytes(sound)


def _reason(error: BaseException) -> str:
    if type(error).__name__ == "KilledWorker":
        return "its workers died, one after the other; see their logs"
    return f"{error}"
