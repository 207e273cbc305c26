"""A narration on a Dask cluster of two workers with caches of their own, of which one is killed while it speaks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_room import run
from distributed import LocalCluster
from small_narration import job, write_narrator

from pytorch_to_mlx import Audio
from pytorch_to_mlx.errors import UsageError
from pytorch_to_mlx.service import distributed
from pytorch_to_mlx.service.cache import ResultCache
from pytorch_to_mlx.service.job import Result
from pytorch_to_mlx.service.narration import narrate
from pytorch_to_mlx.service.narrator import AHEAD, Narrator
from pytorch_to_mlx.service.script import Segment, as_segments

LINES = [f"Line number {number} of the script." for number in range(24)]
THERE = 3


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_narrator(tmp_path_factory.mktemp("dask"))


@pytest.fixture
def address() -> Iterator[str]:
    cluster: Any
    with LocalCluster(n_workers=0, dashboard_address=":0", silence_logs=50) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def workers(address: str, tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """As on two machines: started by the command, each with its own cache."""
    words = [sys.executable, "-m", "dask", "worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    started = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        env = os.environ | {"PYTORCH_TO_MLX_CACHE": str(tmp_path / name)}
        started.append(subprocess.Popen(words, cwd=tmp_path / name, env=env, stderr=subprocess.DEVNULL))
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_nothing_is_lost_and_nothing_done_twice(
    room: Path,
    tmp_path: Path,
    address: str,
    workers: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mine = ResultCache(tmp_path / "mine")
    narrate(LINES[:THERE], tmp_path / "out", job(room), cache=mine)
    delivered: Counter[str] = Counter()
    before: set[str] = set()

    def keys(name: str) -> set[str]:
        return {entry.key for entry in ResultCache(tmp_path / name / "speech").entries()}

    def progress(result: Result, segment: Segment) -> None:
        delivered[result.id] += 1
        if not before and keys("first") and sum(delivered.values()) >= THERE + 2 * AHEAD:
            workers[0].send_signal(signal.SIGKILL)
            before.update(entry.key for entry in mine.entries())

    told = job(room, voice=os.path.relpath(room / "anna.wav"))  # which workers see from elsewhere
    script = [*LINES, {"id": "again", "text": LINES[-1]}]
    narration = narrate(script, tmp_path / "out", told, cache=mine, dask=address, progress=progress)
    assert before and workers[0].wait(60) == -signal.SIGKILL
    assert not narration.failed, narration.failed[0].error
    assert [result.from_cache for result in narration.results] == [True] * THERE + [False] * (24 - THERE) + [True]
    assert set(delivered.values()) == {1} and len(delivered) == len(script)
    assert len(mine.entries()) == len(LINES)
    first, second = keys("first"), keys("second")
    assert len(first | second) == len(LINES) - THERE, "what was there already was not sent out"
    assert len(first & second) <= AHEAD and not first & second & before, "what had come back was not done again"
    here = narrate(LINES, tmp_path / "here", job(room), cache=ResultCache(tmp_path / "fresh"))
    for theirs, ours in zip(narration.results, here.results, strict=False):
        assert theirs.path and ours.path
        np.testing.assert_allclose(Audio.read(theirs.path).samples, Audio.read(ours.path).samples, atol=1e-3)

    (tmp_path / "more.json").write_text(json.dumps([LINES[0], "One more line.", "And another."]))
    words = ["-m", room / "model", "--voice", room / "anna.wav", "--setting", "max_tokens=6", "--dask", address]
    words += ["-o", tmp_path / "more", "--cache", tmp_path / "mine", "--track", tmp_path / "more.wav"]
    capsys.readouterr()
    assert run(monkeypatch, "narrate", tmp_path / "more.json", *words) == 0, "on the command line, by who is left"
    told = json.loads(capsys.readouterr().out)
    assert [each["from_cache"] for each in told["segments"]] == [True, False, False] and told["track"]["chapters"]
    assert all(Path(each["path"]).is_file() for each in told["segments"])
    assert len(keys("second") - second) == 2 and len(mine.entries()) == len(LINES) + 2


def test_a_worker_with_another_model_is_refused(room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it would say must not go into the cache for this one."""
    monkeypatch.setenv("PYTORCH_TO_MLX_CACHE", str(tmp_path))
    segments = as_segments(LINES[:2])
    keys = Narrator(job(room), ResultCache(tmp_path / "mine")).keys(segments)
    with pytest.raises(UsageError, match="a worker has another model, voice or pytorch-to-mlx"):
        distributed.say(replace(job(room), seed=1), segments, keys)
    said = distributed.say(job(room), segments, keys)
    assert [bool(sound) for _, sound in said] == [True, True]


def test_what_a_fallback_says_is_not_kept_for_the_model(room: Path, tmp_path: Path) -> None:
    narrator = Narrator(job(room), ResultCache(tmp_path / "mine"))
    (segment,) = as_segments(LINES[:1])
    sound = (room / "anna.wav").read_bytes()
    told: dict[str, Any] = {"said": "x", "about": {"fallback": True}}
    result = narrator.received(segment, sound, Result(segment.id, **told), tmp_path)
    assert result.path and result.path.read_bytes() == sound
    assert isinstance(narrator.looked_up(segment, tmp_path), str)


def test_a_scheduler_without_workers(room: Path, tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "SECONDS_TO_CONNECT", 1)
    with pytest.raises(UsageError, match="has no worker; start some with: dask worker"):
        narrate(LINES[:1], tmp_path / "out", job(room), cache=ResultCache(tmp_path / "mine"), dask=address)
