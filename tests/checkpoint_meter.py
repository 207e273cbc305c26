"""Opens checkpoints, each in a process of its own, and tells how each ended and what it cost.

    python checkpoint_meter.py FILE...

prints one line of JSON a file: the error's type and message (null if it opened), seconds, and peak bytes: of Python's
allocator, and of the process above what it took before.
"""

import json
import os
import resource
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_SECONDS = 120


@dataclass(frozen=True)
class Outcome:
    error: str | None
    message: str
    seconds: float
    python_bytes: int
    process_bytes: int


def measure(files: Sequence[Path]) -> list[Outcome]:
    """The outcome of `open_checkpoint` on each file; a crash or a foreign exception is called by its name too."""
    command = [sys.executable, __file__, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_SECONDS)
    return [Outcome(**json.loads(line)) for line in done.stdout.splitlines()]


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _open(path: Path) -> dict[str, object]:
    from pytorch_to_mlx.checkpoint import open_checkpoint

    error, message, before = None, "", _peak_bytes()
    tracemalloc.start()
    started = time.perf_counter()
    try:
        with open_checkpoint(path) as checkpoint:
            for name in checkpoint:
                checkpoint.info(name)
    except BaseException as raised:
        error, message = type(raised).__name__, str(raised)
    seconds = time.perf_counter() - started
    return {
        "error": error,
        "message": message,
        "seconds": seconds,
        "python_bytes": tracemalloc.get_traced_memory()[1],
        "process_bytes": _peak_bytes() - before,
    }


def main() -> None:
    import pytorch_to_mlx.checkpoint  # before any fork: what it costs is not the file's

    assert pytorch_to_mlx.checkpoint
    for file in sys.argv[1:]:
        child = os.fork()
        if not child:
            print(json.dumps(_open(Path(file))), flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            crash = {"error": f"status {status}", "message": "", "seconds": 0.0}
            print(json.dumps(crash | {"python_bytes": 0, "process_bytes": 0}), flush=True)


if __name__ == "__main__":
    main()
