"""A conversion killed between any two of its writes, syncs and renames leaves the old folder or the new, whole.

On Linux a preloaded library (kill_shim.c) sees the calls that the process really makes; elsewhere Python's own
calls are wrapped. SIGKILL comes before each of them in turn, and in the middle of each write.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import pytest
from small_ports import safetensors_file, toy_tensors

from pytorch_to_mlx.errors import FolderError
from pytorch_to_mlx.folder import read_config, weight_files

HERE = Path(__file__).parent
LINUX = sys.platform == "linux"
INSTRUMENT = "shim" if LINUX else "wrappers"

Content = dict[str, bytes] | None
Case = Literal["fresh", "exchange", "steps", "after a kill between the steps"]
CASES = [(INSTRUMENT, case) for case in get_args(Case)] + LINUX * [("wrappers", "steps")]


class Call(NamedTuple):
    """One call that the writer made: its kind, the path, and for a write how many bytes."""

    kind: str
    path: Path
    bytes: int


@dataclass
class Writer:
    """Runs conversions in forked processes, whole or killed at one of their calls."""

    process: subprocess.Popen[str]
    instrument: str
    log: Path
    heavy: list[str]

    def run(
        self,
        target: Path,
        variant: str,
        *,
        action: str = "write",
        at: int = 0,
        half: bool = False,
        no_exchange: bool = False,
    ) -> list[Call]:
        """Write `variant` to `target`, killed at call number `at`; the calls up to there."""
        root = str(target.parent.resolve())
        arm = {"root": root, "log": str(self.log), "at": at, "half": half, "no_exchange": no_exchange}
        request = {
            "instrument": self.instrument,
            "arm": arm,
            "action": action,
            "target": str(target),
            "variant": variant,
        }
        assert self.process.stdin and self.process.stdout
        print(json.dumps(request), file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        assert answer == {"killed": at > 0, "error": ""}
        lines = [line.split("\t") for line in self.log.read_text().splitlines()]
        return [Call(kind, Path(path), int(size)) for kind, path, size in lines]


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("shim") / "kill_shim.so"
    if LINUX:
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, HERE / "kill_shim.c", "-ldl"], check=True)
    return library


@pytest.fixture(scope="module", params=[INSTRUMENT])
def writer(request: pytest.FixtureRequest, shim: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writer]:
    with serving(request.param, shim, tmp_path_factory.mktemp("log") / "calls") as writer:
        yield writer


@contextmanager
def serving(instrument: str, shim: Path, log: Path, *modules: str) -> Iterator[Writer]:
    """A server that has imported `modules` before it forks."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    if instrument == "shim":
        environment["LD_PRELOAD"] = str(shim)
    with subprocess.Popen(
        [sys.executable, HERE / "kill_server.py", *modules],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdin and process.stdout
        heavy = json.loads(process.stdout.readline())["heavy"]
        yield Writer(process, instrument, log, heavy)
        process.stdin.close()


@pytest.fixture
def room() -> Iterator[Path]:
    """A folder in memory where there is one: SIGKILL loses nothing that was written, so no disk is needed."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder).resolve()


def content(folder: Path) -> Content:
    """Every file of a folder; None where there is no folder."""
    if not folder.exists():
        return None
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def written(writer: Writer, parent: Path, variant: str) -> Content:
    """What a model folder of this variant holds; it is a valid one."""
    parent.mkdir()
    writer.run(parent / "model", variant)
    assert read_config(parent / "model").variant == variant
    assert len(weight_files(parent / "model")) == 2
    return content(parent / "model")


def kill_points(calls: list[Call]) -> list[tuple[int, bool]]:
    whole = [(number, False) for number in range(1, len(calls) + 1)]
    return whole + [(number, True) for number, call in enumerate(calls, 1) if call.kind == "write"]


@pytest.mark.parametrize(("writer", "case"), CASES, indirect=["writer"])
def test_killed_at_every_call(writer: Writer, case: Case, room: Path) -> None:
    old, new = written(writer, room / "old", "old one"), written(writer, room / "new", "new")
    assert old and new and old.keys() == new.keys()
    start = room / "start"
    if case == "fresh":
        start.mkdir()
        old = None
    else:
        shutil.copytree(room / "old", start)
    options: dict[str, Any] = {"no_exchange": case not in ("fresh", "exchange")}
    if case == "after a kill between the steps":
        steps = writer.run(copy(start, room / "counted") / "model", "new", **options)
        first = next(i for i, call in enumerate(steps, 1) if call.kind == "rename")
        writer.run(start / "model", "new", at=first + 1, **options)
        assert content(start / "model") is None

    calls = writer.run(copy(start, room / "whole") / "model", "new", **options)
    kinds = Counter(call.kind for call in calls)
    assert kinds["write"] + kinds["fsync"] + kinds["rename"] + kinds["renameat2"] >= 20, kinds
    outcomes: list[tuple[bool, Content]] = []
    for at, half in kill_points(calls):
        parent = copy(start, room / "killed")
        target = parent / "model"
        writer.run(target, "new", at=at, half=half, **options)
        away = content(target) is None
        if away and old is not None:
            assert read_config(target).variant == "old one", "the first reader puts the old folder back"
        found = content(target)
        assert found in (old, new), f"{calls[at - 1]} {half=}"
        if found is not None:
            assert len(weight_files(target)) == 2
        outcomes.append((away, found))
        writer.run(target, "new", **options)
        assert content(target) == new
        assert [path.name for path in parent.iterdir()] == ["model"], "nothing is left lying about"
        shutil.rmtree(parent)

    states = [found for _, found in outcomes[: len(calls)]]
    swap = states.index(new)
    assert swap > 0 and all(state == old for state in states[:swap])
    assert all(state == new for state in states[swap:])
    if case == "exchange":
        assert not any(away for away, _ in outcomes), "an atomic exchange never lets the target be away"
    if case == "steps":
        assert sum(away for away, _ in outcomes) == 1, "between the first two of the three renames"


@pytest.mark.skipif(not LINUX, reason="Metal does not survive a fork")
def test_convert_killed_at_every_call(shim: Path, tmp_path: Path, room: Path) -> None:
    """The whole conversion of a checkpoint, over a model that was converted before."""
    for variant, layers in {"small": 2, "deep": 3}.items():
        safetensors_file(room / f"{variant}.safetensors", toy_tensors(layers))
    with serving(INSTRUMENT, shim, tmp_path / "calls", "small_ports", "pytorch_to_mlx.conversion") as writer:
        (room / "start").mkdir()
        writer.run(room / "start/model", "small", action="convert")
        calls = writer.run(copy(room / "start", room / "whole") / "model", "deep", action="convert")
        old, new = content(room / "start/model"), content(room / "whole/model")
        assert old and new and {"config.json", "model.safetensors", "README.md"} == old.keys() == new.keys()
        points = kill_points(calls)
        assert len(points) >= 20
        states: list[Content] = []
        for at, half in points:
            target = copy(room / "start", room / "killed") / "model"
            writer.run(target, "deep", action="convert", at=at, half=half)
            states.append(content(target))
            assert states[-1] in (old, new), f"{calls[at - 1]} {half=}"
            writer.run(target, "deep", action="convert")
            assert content(target) == new
            assert [path.name for path in target.parent.iterdir()] == ["model"], "nothing is left lying about"
            shutil.rmtree(target.parent)
        assert old in states and new in states


def test_one_file_replaced(writer: Writer, room: Path) -> None:
    """validate writes parity.json and README.md into a folder that somebody may be reading."""
    written(writer, room / "start", "old one")
    writer.run(room / "start/model", "before", action="replace")
    calls = writer.run(copy(room / "start", room / "whole") / "model", "after", action="replace")
    before, after = content(room / "start/model"), content(room / "whole/model")
    assert before and after and before != after and before.keys() == after.keys()
    for at, half in kill_points(calls):
        target = copy(room / "start", room / "killed") / "model"
        writer.run(target, "after", action="replace", at=at, half=half)
        found = content(target)
        assert found
        found.pop(".parity.json.writing", None)
        assert found in (before, after), f"{calls[at - 1]} {half=}"
        assert len(weight_files(target)) == 2
        writer.run(target, "after", action="replace")
        assert content(target) == after
        shutil.rmtree(target.parent)


def test_readers_wait_for_a_swap_under_way(writer: Writer, room: Path) -> None:
    """Between the steps of a writer that lives, a reader neither mends nor reads."""
    written(writer, room / "start", "old one")
    target = room / "start/model"
    hidden = room / "start/.model.converting"
    hidden.mkdir()
    with (hidden / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        target.rename(hidden / "old")
        with pytest.raises(FolderError, match="is being written by another process"):
            read_config(target)
    assert read_config(target).variant == "old one"


@pytest.mark.skipif(not LINUX, reason="the wrappers see descriptors, not paths")
def test_durable_before_visible(writer: Writer, room: Path) -> None:
    """What a power failure must not undo: all is synced before the swap, the swap before the old goes."""
    written(writer, room / "start", "old one")
    target = room / "start/model"
    calls = writer.run(target, "new")
    swap = next(i for i, call in enumerate(calls) if call.kind == "renameat2")
    new = room / "start/.model.converting/new"
    assert calls[swap].path == new
    last: dict[Path, str] = {}
    sizes: Counter[Path] = Counter()
    for call in calls[:swap]:
        last[call.path] = call.kind
        if call.kind in ("open", "mkdir"):
            last[call.path.parent] = "entry"
        sizes[call.path] += call.bytes
    made = {path: kind for path, kind in last.items() if path.is_relative_to(new)}
    assert set(made.values()) == {"fsync"}, made
    # The log misses no write: what it counted is what lies there.
    assert {new / path.relative_to(target): path.stat().st_size for path in target.rglob("*") if path.is_file()} == {
        path: size for path, size in sizes.items() if size
    }
    after = [(call.kind, call.path) for call in calls[swap + 1 :]]
    assert ("fsync", room / "start") in after[: [kind for kind, _ in after].index("unlinkat")]


def test_writing_needs_neither_mlx_nor_torch(writer: Writer) -> None:
    assert writer.heavy == []


def copy(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to
