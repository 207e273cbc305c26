"""What is written in C++ for the Linux CPU backend, where MLX would pass over memory for each operation.

It is compiled by g++ for the processor at hand when it is first needed, in a few seconds, and kept in the cache folder.
Calls are not lazy: their inputs are evaluated first.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import mlx.core as mx

from pytorch_to_mlx.environments import cache_folder, environment_of_children

SOURCES = sorted(Path(__file__).parent.glob("*.cpp"))
HEADERS = sorted(Path(__file__).parent.glob("*.h"))
OPTIONS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fPIC", "-shared", "-pthread")


def evaluated(arrays: Sequence[mx.array]) -> bool:
    """Evaluate `arrays`; False inside `mx.compile` and `mx.vmap`, which have nothing to compute with yet."""
    try:
        mx.eval(arrays)
    except (RuntimeError, ValueError) as error:
        if "transformation" not in str(error):
            raise
        return False
    return True


def library() -> ctypes.CDLL | None:
    """The compiled library, the same for every thread; None where it cannot be compiled."""
    with _building:
        return _made()[0]


@cache
def function(name: str, *types: Any) -> Any:
    """A function of the library, which there is, that takes arguments of these types and returns an int."""
    entry = getattr(library(), name)
    entry.argtypes, entry.restype = types, ctypes.c_int
    return entry


def trouble() -> str:
    """Why there is no library; "" where there is one."""
    with _building:
        return _made()[1]


_building = threading.Lock()


@cache
def _made() -> tuple[ctypes.CDLL | None, str]:
    compiler = shutil.which("g++")
    if compiler is None:
        return None, "g++ is missing"
    code = "".join(path.read_text(encoding="utf-8") for path in (*HEADERS, *SOURCES))
    identity = code + " ".join((compiler, *OPTIONS)) + _processor()
    name = f"native-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.so"
    room = _room()
    if room is not None:
        with contextlib.suppress(OSError):  # not there yet, or none of this system
            return ctypes.CDLL(str(room / name)), ""
    try:
        with tempfile.TemporaryDirectory(dir=room) as folder:
            built = Path(folder) / name
            _compile(compiler, built)
            if room is not None:
                built = built.replace(room / name)
            return ctypes.CDLL(str(built)), ""
    except subprocess.CalledProcessError as error:
        return None, f"g++ fails: {(error.stderr.strip().splitlines() or ['it says nothing'])[-1]}"
    except (OSError, subprocess.SubprocessError) as error:
        return None, f"what is written in C++ cannot be compiled or loaded: {error}"


def _room() -> Path | None:
    """Where libraries are kept; None if nothing can be."""
    try:
        room = cache_folder() / "native"
        room.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return None
    return room if os.access(room, os.W_OK | os.X_OK) else None


def _compile(compiler: str, built: Path) -> None:
    command = [compiler, *OPTIONS, *map(str, SOURCES), "-o", str(built)]
    subprocess.run(command, env=environment_of_children(), check=True, capture_output=True, text=True, timeout=300)


def _processor() -> str:
    """What tells processors apart for which one library will not do: what they can execute."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                return platform.machine() + line
    return platform.machine() + platform.processor()
