"""What is written in C++ for the Linux CPU backend: attention, which MLX computes there in passes over memory.

attention.cpp is compiled by g++ for the processor at hand when it is first needed, in a second or two, and kept in
the cache folder. Calls are not lazy: their inputs are evaluated first.
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
from functools import cache, partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.environments import cache_folder, environment_of_children
from pytorch_to_mlx.layers.cores import on_one_core, shares, together, usable_cores

SOURCE = Path(__file__).with_name("attention.cpp")
OPTIONS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fPIC", "-shared")


def attention(q: mx.array, k: mx.array, v: mx.array, scale: float, mask: mx.array | None) -> mx.array | None:
    """`layers.attention.attention` of float32 arrays whose shapes agree, on all cores.

    Returns:
        (batch, heads, queries, value depth), laid out as (batch, queries, heads, value depth); None where it could not
        be compiled, and inside `mx.compile` and `mx.vmap`, which have nothing to compute with yet.

    Raises:
        MemoryError: not enough for the scores of a block of queries.
    """
    if library() is None:
        return None
    batch, heads, queries, _ = q.shape
    if mask is not None:
        if mask.dtype == mx.bool_:
            mask = mx.where(mask, mx.array(0, q.dtype), mx.array(-mx.inf, q.dtype))
        mask = mx.broadcast_to(mask.astype(q.dtype), (batch, heads, queries, k.shape[2]))
    given = [q, k, v] if mask is None else [q, k, v, mask]
    try:
        mx.eval(given)
    except (RuntimeError, ValueError) as error:
        if "transformation" not in str(error):
            raise
        return None
    views = [np.array(each, copy=False) for each in given]
    out = np.empty((batch, queries, heads, v.shape[3]), np.float32).swapaxes(1, 2)
    cores = 1 if on_one_core() else min(usable_cores(), batch * heads)
    together([partial(_attend, views, out, scale, *share) for share in shares(batch * heads, cores)])
    return mx.array(out.swapaxes(1, 2)).swapaxes(1, 2)


def _attend(views: list[np.ndarray], out: np.ndarray, scale: float, first: int, last: int) -> None:
    """The heads `first` to `last` of all batches; the arrays live as long as this call."""
    q, k, v = views[:3]
    pointers = [part for view in views for part in (view.ctypes.data, _strides(view))]
    pointers += [None] * (8 - len(pointers)) + [out.ctypes.data, _strides(out)]
    sizes = (q.shape[1], q.shape[1] // k.shape[1], q.shape[2], k.shape[2], q.shape[3], v.shape[3])
    if _entry()(*pointers, *sizes, scale, first, last):
        raise MemoryError("attention: not enough memory for the scores of a block of queries")


def _strides(view: np.ndarray) -> Any:
    """In elements; ctypes passes the array as a pointer."""
    return (ctypes.c_int64 * 4)(*(stride // view.itemsize for stride in view.strides))


@cache
def _entry() -> Any:
    function = getattr(library(), "attention")  # noqa: B009 - what it is called in C++
    pair = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_int64)]
    function.argtypes = pair * 5 + [ctypes.c_int64] * 6 + [ctypes.c_float] + [ctypes.c_int64] * 2
    function.restype = ctypes.c_int
    return function


def library() -> ctypes.CDLL | None:
    """The compiled library, the same for every thread; None where it cannot be compiled."""
    with _building:
        return _made()[0]


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
    identity = SOURCE.read_text(encoding="utf-8") + " ".join((compiler, *OPTIONS)) + _processor()
    name = f"attention-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.so"
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
        return None, f"attention.cpp cannot be compiled: {error}"


def _room() -> Path | None:
    """Where libraries are kept; None if nothing can be."""
    try:
        room = cache_folder() / "native"
        room.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return None
    return room if os.access(room, os.W_OK | os.X_OK) else None


def _compile(compiler: str, built: Path) -> None:
    command = [compiler, *OPTIONS, str(SOURCE), "-o", str(built)]
    subprocess.run(command, env=environment_of_children(), check=True, capture_output=True, text=True, timeout=300)


def _processor() -> str:
    """What tells processors apart for which one library will not do: what they can execute."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                return platform.machine() + line
    return platform.machine() + platform.processor()
