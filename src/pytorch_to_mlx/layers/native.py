"""What is written in C++ for the Linux CPU backend: attention, which MLX computes there in passes over memory.

attention.cpp is compiled by g++ for the processor at hand when it is first needed, in a few seconds, and kept in the
cache folder. Calls are not lazy: their inputs are evaluated first.
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
from functools import cache, partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.environments import cache_folder
from pytorch_to_mlx.layers.cores import helpers, on_one_core, usable_cores

SOURCE = Path(__file__).with_name("attention.cpp")
OPTIONS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fPIC", "-shared")


def attention(q: mx.array, k: mx.array, v: mx.array, scale: float, mask: mx.array | None) -> mx.array | None:
    """`layers.attention.attention` of float32 arrays on all cores.

    Returns:
        (batch, heads, queries, value depth), laid out as (batch, queries, heads, value depth); None where there is no
        compiler, and inside `mx.compile` and other transformations, which have nothing to compute with yet.
    """
    if library() is None:
        return None
    batch, heads, queries, depth = q.shape
    keys, values = v.shape[2:]
    if mask is not None:
        if mask.dtype == mx.bool_:
            mask = mx.where(mask, mx.array(0, q.dtype), mx.array(-mx.inf, q.dtype))
        mask = mx.broadcast_to(mask.astype(q.dtype), (batch, heads, queries, keys))
    given = [q, k, v] if mask is None else [q, k, v, mask]
    try:
        mx.eval(given)
    except (RuntimeError, ValueError):
        return None
    views = [np.array(each, copy=False) for each in given]
    out = np.empty((batch, queries, heads, values), np.float32).swapaxes(1, 2)
    pointers = [part for view in views for part in (view.ctypes.data, _strides(view))]
    pointers += [None] * (8 - len(pointers)) + [out.ctypes.data, _strides(out)]
    sizes = (heads, heads // k.shape[1], queries, keys, depth, values)
    share = partial(_attend, [*pointers, *sizes, scale])
    cores = 1 if on_one_core() else min(usable_cores(), batch * heads)
    bounds = [batch * heads * n // cores for n in range(cores + 1)]
    if cores == 1:
        share(*bounds)
    else:
        list(helpers().map(share, bounds, bounds[1:]))
    return mx.array(out.swapaxes(1, 2)).swapaxes(1, 2)


def _attend(arguments: list[Any], first: int, last: int) -> None:
    if _entry()(*arguments, first, last):
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


@cache
def library() -> ctypes.CDLL | None:
    """The compiled library; None without a compiler that can make it."""
    compiler = shutil.which("g++")
    if compiler is None:
        return None
    identity = SOURCE.read_text(encoding="utf-8") + " ".join((compiler, *OPTIONS)) + _processor()
    kept = cache_folder() / "native" / f"attention-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.so"
    if kept.exists():
        with contextlib.suppress(OSError):  # no library, or none of this system
            return ctypes.CDLL(str(kept))
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(OSError, subprocess.SubprocessError):
        built = Path(folder) / "attention.so"
        subprocess.run(
            [compiler, *OPTIONS, str(SOURCE), "-o", str(built)], check=True, capture_output=True, timeout=300
        )
        with contextlib.suppress(OSError):  # a cache that cannot be written is no reason to compute slowly
            _keep(built, kept)
        return ctypes.CDLL(str(built))
    return None


def _keep(built: Path, kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    draft = kept.with_suffix(f".{os.getpid()}")
    try:
        shutil.copy(built, draft)
        draft.replace(kept)
    finally:
        draft.unlink(missing_ok=True)


def _processor() -> str:
    """What tells processors apart for which one library will not do: what they can execute."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                return platform.machine() + line
    return platform.machine() + platform.processor()
