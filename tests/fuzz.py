"""Damages model folders and checkpoints at random and uses each as a user would: it must work or be refused.

    python tests/fuzz.py --cases 10000 --seed 0
    python tests/fuzz.py --case 4711 --seed 0        one case again, with its traceback

Every case must end well, or with a PytorchToMlxError, within the limits of time and memory. Failures are: a
crash, a hang, another exception, a failed conversion that leaves something behind, a conversion that cannot be loaded,
and a malformed file that reaches MLX, whose own parser accepts them. At least 80 % of the cases hit config.json, an
index or a safetensors header. Cases run in forked workers: a crash or a hang costs one worker, not the run.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import resource
import selectors
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch  # noqa: F401 - before the fork, else each worker imports it
from fuzz_mutations import STRUCTURED, Files, Region, Special, mutate, places
from fuzz_subjects import ACTIONS, Subject, guard_mlx, make_subjects, read_subjects
from small_ports import add_toy

from pytorch_to_mlx.errors import PytorchToMlxError

SHARES: Mapping[Region, float] = {"config": 0.3, "index": 0.2, "header": 0.36, "data": 0.14}
MEMORY_BYTES = 100 * 2**20  # that one case may add to the most that its worker has ever held
ADDRESS_BYTES = 2**30  # the same of address space, which Linux limits


class Outcome(NamedTuple):
    """How a case ended: "ok", the type of a refusal, or what must not happen, of which `failure` says more."""

    number: int
    region: str
    kind: str
    failure: str = ""


class Case(NamedTuple):
    """One damaged folder and what is done with it."""

    subject: Subject
    files: Files
    region: Region
    action: str
    what: str


def make_case(seed: int, number: int, subjects: Sequence[Subject]) -> tuple[Case, Random]:
    """Case `number` of `seed`, and the random generator that goes on choosing."""
    rng = Random(f"{seed}/{number}")
    (wanted,) = rng.choices(list(SHARES), list(SHARES.values()))
    found = [(subject, [place for place in places(subject.files) if place.region == wanted]) for subject in subjects]
    subject, able = rng.choice([(subject, able) for subject, able in found if able])
    files, region, what = mutate(rng, subject.files, rng.choice(able))
    action = rng.choice(subject.actions)
    return Case(subject, files, region, action, f"{action} {subject.name} with {what}"), rng


def use(case: Case, rng: Random, room: Path) -> None:
    """Write the case's files and do what it does."""
    folder, out = room / "damaged", room / "out"
    folder.mkdir(parents=True)
    out.mkdir()
    for name, content in case.files.items():
        path = folder / name
        match content:
            case bytes():
                path.write_bytes(content)
            case Special("link"):
                path.symlink_to(content.target)
            case Special("hard link"):
                path.hardlink_to(content.target)
            case Special("folder"):
                path.mkdir()
            case Special("pipe"):
                os.mkfifo(path)
    ACTIONS[case.action](folder / case.subject.opened, out / "converted", rng)


def judge(case: Case, rng: Random, room: Path) -> tuple[str, str]:
    """How using the case ends: the outcome's kind and, if it is a failure, what it says."""
    held = _peak_bytes()
    try:
        use(case, rng, room)
        kind, failure = "ok", ""
    except PytorchToMlxError as error:
        kind, failure = type(error).__name__, _objection(error)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        kind = type(error).__name__
        failure = f"{kind}: {' '.join(str(error).split())[:300]} ({Path(place.filename).name}:{place.lineno})"
    finally:
        shutil.rmtree(room, ignore_errors=True)
    if _peak_bytes() - held > MEMORY_BYTES:
        return "memory", f"took {(_peak_bytes() - held) >> 20} MB"
    return kind, failure


def _objection(error: BaseException | None) -> str:
    """What is wrong with a refusal: it must not be what running out of memory was turned into."""
    while error is not None:
        if isinstance(error, MemoryError):
            return "memory ran out"
        error = error.__cause__
    return ""


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


# --- Workers ----------------------------------------------------------------------------------------------------------


@dataclass
class Worker:
    """A forked process that goes through `numbers` and tells of each on its pipe: its number, then how it ended."""

    numbers: range
    pid: int
    pipe: int
    unread: bytes = b""
    number: int | None = None
    since: float = field(default_factory=time.monotonic)


def start(numbers: range, seed: int, subjects: Sequence[Subject], room: Path) -> Worker:
    """Fork a worker."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return Worker(numbers, pid, reader)
    try:
        faulthandler.enable()
        _limit_memory()
        guard_mlx()
        for subject in subjects:  # lazy imports and caches are no case's memory
            for action in sorted(set(subject.actions)):
                use(Case(subject, subject.files, "file", action, ""), Random(0), room / "healthy")
                shutil.rmtree(room / "healthy")
        for number in numbers:
            os.write(writer, f"{number}\n".encode())
            case, rng = make_case(seed, number, subjects)
            kind, failure = judge(case, rng, room / str(number))
            failure = failure and f"{failure}: {case.what}"
            os.write(writer, json.dumps(Outcome(number, case.region, kind, failure)).encode() + b"\n")
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _limit_memory() -> None:
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + ADDRESS_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def run(cases: range, seed: int, subjects: Sequence[Subject], room: Path, seconds: float) -> Iterator[Outcome]:
    """Run cases on every core; each is left at most `seconds`."""
    count = os.cpu_count() or 1
    with selectors.DefaultSelector() as selector:

        def begin(numbers: range) -> None:
            worker = start(numbers, seed, subjects, room / str(numbers.start))
            selector.register(worker.pipe, selectors.EVENT_READ, worker)

        def finish(worker: Worker) -> int:
            selector.unregister(worker.pipe)
            os.close(worker.pipe)
            return os.waitpid(worker.pid, 0)[1]

        def lost(worker: Worker, kind: str) -> Outcome:
            assert worker.number is not None
            rest = range(worker.number + count, cases.stop, count)
            if rest:
                begin(rest)
            case, _ = make_case(seed, worker.number, subjects)
            return Outcome(worker.number, case.region, kind, f"{kind}: {case.what}")

        try:
            for first in range(cases.start, min(cases.start + count, cases.stop)):
                begin(range(first, cases.stop, count))
            while selector.get_map():
                for key, _ in selector.select(timeout=0.1):
                    worker: Worker = key.data
                    told = os.read(worker.pipe, 1 << 16)
                    *lines, worker.unread = (worker.unread + told).split(b"\n")
                    for line in map(json.loads, lines):
                        worker.since = time.monotonic()
                        if isinstance(line, int):
                            worker.number = line
                        else:
                            worker.number = None
                            yield Outcome(*line)
                    if told:
                        continue
                    status = finish(worker)
                    if worker.number is not None:
                        yield lost(worker, f"crash: {_ending(status)}")
                    elif status:
                        raise SystemExit(f"a worker ended before its first case ({_ending(status)})")
                for worker in [key.data for key in selector.get_map().values()]:
                    if worker.number is not None and time.monotonic() - worker.since > seconds:
                        os.kill(worker.pid, signal.SIGKILL)
                        finish(worker)
                        yield lost(worker, "hang")
        finally:
            for key in list(selector.get_map().values()):
                os.kill(key.data.pid, signal.SIGKILL)
                finish(key.data)


def _ending(status: int) -> str:
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"status {os.WEXITSTATUS(status)}"


# --- The command ------------------------------------------------------------------------------------------------------


def table(counts: Counter[tuple[str, str]]) -> str:
    """Outcomes by class and by where the mutation hit."""
    regions = [*STRUCTURED, "data", "file"]
    kinds = sorted({kind for kind, _ in counts}, key=lambda kind: (kind != "ok", kind))
    rows = [[kind, *(counts[kind, region] for region in regions)] for kind in kinds]
    rows.append(["all", *(sum(counts[kind, region] for kind in kinds) for region in regions)])
    lines = [["outcome", *regions, "all"], *([*map(str, row), str(sum(row[1:]))] for row in rows)]
    width = max(len(line[0]) for line in lines)
    return "\n".join(line[0].ljust(width) + "".join(cell.rjust(9) for cell in line[1:]) for line in lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz; 0 if nothing failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="run this one alone, in this process, and keep its files")
    parser.add_argument("--seconds", type=float, default=5.0, help="that a case may take")
    parser.add_argument("--report", type=Path, help="write the counts as JSON")
    options = parser.parse_args(arguments)
    memory = Path("/dev/shm")
    room = Path(tempfile.mkdtemp(prefix="fuzz-", dir=memory if memory.is_dir() else None))
    try:
        # A process that has used MLX cannot fork workers: its threads would be missing in them.
        if not (child := os.fork()):
            make_subjects(room / "healthy")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0, "the healthy folders could not be made"
        add_toy()
        subjects = read_subjects(room / "healthy")
        if options.case is not None:
            return _run_one(options.seed, options.case, subjects)
        return _run_all(options, subjects, room)
    finally:
        shutil.rmtree(room)


def _run_one(seed: int, number: int, subjects: Sequence[Subject]) -> int:
    case, rng = make_case(seed, number, subjects)
    room = Path(tempfile.mkdtemp(prefix=f"fuzz-{number}-"))
    print(f"{case.what}\nfiles kept in {room}")
    guard_mlx()
    use(case, rng, room / "case")
    print("ok")
    return 0


def _run_all(options: argparse.Namespace, subjects: Sequence[Subject], room: Path) -> int:
    counts: Counter[tuple[str, str]] = Counter()
    failures = []
    started = time.monotonic()
    for outcome in run(range(options.cases), options.seed, subjects, room, options.seconds):
        counts[outcome.kind, outcome.region] += 1
        if outcome.failure:
            failures.append(outcome)
            print(
                f"FAILED {outcome.failure}\n  python tests/fuzz.py --seed {options.seed} --case {outcome.number}",
                flush=True,
            )
    print(table(counts))
    print(
        f"{counts.total()} cases of seed {options.seed} in {time.monotonic() - started:.0f} s, {len(failures)} failed"
    )
    if options.report:
        kinds: dict[str, Counter[str]] = {}
        for (kind, region), count in counts.items():
            kinds.setdefault(kind, Counter())[region] += count
        options.report.write_text(json.dumps({"failures": len(failures), "outcomes": kinds}))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
