"""A narration on a Dask cluster of two workers, of which one is killed while it speaks."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster
from small_narration import job, write_narrator

from pytorch_to_mlx.service.cache import ResultCache
from pytorch_to_mlx.service.job import Result
from pytorch_to_mlx.service.narration import narrate
from pytorch_to_mlx.service.script import Segment

LINES = [f"Line number {number} of the script." for number in range(20)]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_narrator(tmp_path_factory.mktemp("dask"))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Any]:
    """Whose workers have a cache of their own, as on other machines."""
    env = {"PYTORCH_TO_MLX_CACHE": str(tmp_path / "theirs")}
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", env=env, silence_logs=50
    ) as cluster:
        yield cluster


def test_nothing_is_lost_and_nothing_done_twice(room: Path, tmp_path: Path, cluster: Any) -> None:
    mine = ResultCache(tmp_path / "mine")
    narrate(LINES[:3], tmp_path / "out", job(room, seed=0), cache=mine)
    pids = [worker.pid for worker in cluster.workers.values()]
    delivered: Counter[str] = Counter()

    def progress(result: Result, segment: Segment) -> None:
        delivered[result.id] += 1
        if sum(delivered.values()) == 8:
            os.kill(pids[0], signal.SIGKILL)

    narration = narrate(
        LINES, tmp_path / "out", job(room), cache=mine, dask=cluster.scheduler_address, progress=progress
    )
    assert not narration.failed, narration.failed[0].error
    assert [result.from_cache for result in narration.results] == [True] * 3 + [False] * 17
    assert set(delivered.values()) == {1} and len(delivered) == len(LINES)
    assert pids[0] not in [worker.pid for worker in cluster.workers.values()], "the killed one was replaced"
    assert len(mine.entries()) == len(LINES) == len(list((tmp_path / "out").glob("*.wav")))
    theirs = ResultCache(tmp_path / "theirs" / "speech").entries()
    assert len(theirs) == len(LINES) - 3, "what was there already was not sent out"
    # What workers said is what is said here.
    here = narrate(LINES, tmp_path / "here", job(room), cache=ResultCache(tmp_path / "fresh"))
    sizes = [
        (a.path.stat().st_size, b.path.stat().st_size)
        for a, b in zip(narration.results, here.results, strict=True)
        if a.path and b.path
    ]
    assert len(sizes) == len(LINES) and all(first == second for first, second in sizes)
