"""A contender's process: started, loaded from files that were just read, then told what to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

from pytorch_to_mlx.benchmark.contender import SCRIPTS, Contender, openblas
from pytorch_to_mlx.benchmark.contenders.serving import Setting
from pytorch_to_mlx.environments import why_ended
from pytorch_to_mlx.errors import BenchmarkError


class Child:
    """A contender's process.

    Attributes:
        loaded: what it said when it had loaded.
        replies: what it said since.
    """

    def __init__(self, command: Sequence[str | Path], variables: dict[str, str], errors: IO[str]) -> None:
        self._name = Path(command[1]).name
        self._errors = errors
        # Replies come by a pipe of their own: what libraries print is in nobody's way.
        reading, writing = os.pipe()
        self._answers = os.fdopen(reading)
        try:
            self._process = subprocess.Popen(
                [*command, str(writing)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                text=True,
                env=variables,
                pass_fds=[writing],
            )
        except BaseException:
            self._answers.close()
            raise
        finally:
            os.close(writing)
        self.replies: list[dict[str, Any]] = []
        try:
            self.loaded = self._reply()
        except BaseException:
            self.close()
            raise

    def ask(self, method: str, *arguments: object, text: str | None = None) -> dict[str, Any]:
        """Have it do something, with another text than its setting's if one is given.

        Raises:
            BenchmarkError: it failed; the signal that ended it, or the error that it printed.
        """
        assert self._process.stdin
        with suppress(BrokenPipeError):  # it has ended, and the reply tells why
            self._process.stdin.write(json.dumps([method, arguments, text]) + "\n")
            self._process.stdin.flush()
        self.replies.append(self._reply())
        return self.replies[-1]

    def close(self) -> None:
        """End it, whatever it is doing."""
        assert self._process.stdin
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()

    def _reply(self) -> dict[str, Any]:
        answer = self._answers.readline()
        if not answer:
            status = self._process.wait()
            self._errors.seek(0)
            raise BenchmarkError(f"{self._name} {why_ended(status, self._errors.read())}")
        return json.loads(answer)


@contextmanager
def started(contender: Contender, setting: Setting) -> Iterator[Child]:
    """A contender's process, loaded from files that were read just before; it ends with the block.

    Raises:
        BenchmarkError: it failed to load.
        UpstreamError: its environment cannot be built.
    """
    python, variables = contender.python, contender.variables(setting.threads)
    read_through(Path(setting.model))
    with tempfile.TemporaryFile("w+") as errors:
        stamped = json.dumps(asdict(replace(setting, started=time.monotonic())))
        with _on_cores(setting.threads):
            child = Child([python, SCRIPTS / contender.script, stamped], variables, errors)
        try:
            yield child
        finally:
            child.close()


@contextmanager
def all_started(settings: Mapping[Contender, Setting]) -> Iterator[dict[Contender, Child]]:
    """The processes of several contenders, loaded one after another; the errors are those of `started`."""
    with ExitStack() as stack:
        yield {each: stack.enter_context(started(each, setting)) for each, setting in settings.items()}


@contextmanager
def _on_cores(count: int) -> Iterator[None]:
    """Processes that begin within the block have so many cores: not every library heeds variables of threads."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(own)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)


def read_through(model: Path) -> None:
    """Read every byte of a model's files, so that they lie in the page cache for whoever loads them."""
    with Path(os.devnull).open("wb") as nowhere:
        for path in (model, *sorted(model.rglob("*"))):
            if path.is_file():
                with path.open("rb") as file:
                    shutil.copyfileobj(file, nowhere, 1 << 20)


def about(contender: Contender, child: Child) -> dict[str, Any]:
    """What a contender is and held, once it has worked: a line on it, its device, its preloaded BLAS, seconds of import
    and load, the probes' GFLOP/s, and bytes of memory (peak, held, its framework's own peak; None if untold)."""
    last = child.replies[-1]
    return {
        "about": child.loaded["facts"]["about"],
        "device": child.loaded["facts"].get("device", "cpu"),
        "preload": Path(openblas()).name if contender.preloads else "",
        "import": child.loaded["import"],
        "load": child.loaded["load"],
        "gflops": [reply["gflops"] for reply in child.replies],
        **{name: last[name] for name in ("peak", "held", "device_peak")},
    }
