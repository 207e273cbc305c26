"""Runs child.py and measures it: seconds, and the most anonymous memory above what it held after its imports."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

SAMPLE_SECONDS = 0.002
CHILD = Path(__file__).with_name("child.py")


@dataclass(frozen=True)
class Measurement:
    """What one piece of work took. `memory` is None where the system does not tell (it needs Linux's /proc)."""

    import_seconds: float
    seconds: float
    memory: int | None


def anonymous_bytes(pid: int) -> int | None:
    """Memory of a process that is no file's: RssAnon of /proc/PID/status."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon")), None)


def measure(python: Path, work: str, source: Path, target: Path) -> Measurement:
    """Do `work` in a fresh process of `python`, with the disk idle and the source in the page cache.

    Raises:
        RuntimeError: it failed; the last lines that it printed.
    """
    # No work multiplies matrices, so a preloaded BLAS, which torch must not be timed with, is left out for all.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    settle(source)
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [python, CHILD, work, source, target],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
        ) as child,
    ):
        assert child.stdin and child.stdout
        imported = child.stdout.readline()
        baseline = peak = anonymous_bytes(child.pid)
        child.stdin.write("\n")
        child.stdin.close()
        while not select.select([child.stdout], [], [], SAMPLE_SECONDS)[0]:
            peak = max(peak or 0, anonymous_bytes(child.pid) or 0)
        done = child.stdout.readline()
        if child.wait() or not done:
            errors.seek(0)
            raise RuntimeError(f"{work} failed:\n{errors.read()[-3000:]}")
    memory = None if baseline is None or peak is None else peak - baseline
    return Measurement(float(imported), float(done), memory)


def settle(source: Path) -> None:
    """Write out what waits to be written, and read the source once, so that every contender starts alike."""
    os.sync()
    subprocess.run([sys.executable, CHILD, "read", source, source], input=b"\n", stdout=subprocess.DEVNULL, check=True)
