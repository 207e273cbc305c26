"""Where lowerings are chosen, for all of `layers`: models never mention a device.

They are for the Linux CPU backend, measured on MLX 0.32.4 (benchmarks/layers.py). Metal, CUDA and macOS's CPU keep
MLX's own operations.
"""

from __future__ import annotations

import contextlib
import ctypes
import shutil
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from functools import cache

import mlx.core as mx


def linux_cpu() -> bool:
    """Whether operations run on the Linux CPU backend now: asked at each call, since `mx.stream` may change it."""
    _threads.enter()
    if _portable.get():
        return False
    lowered = mx.default_device().type == mx.DeviceType.cpu and sys.platform == "linux"
    if lowered:
        _keep_freed_memory()
    return lowered


_portable: ContextVar[bool] = ContextVar("portable", default=False)


@contextlib.contextmanager
def portable() -> Iterator[None]:
    """MLX's own operations alone within the block, so that what is exported there runs on every device."""
    token = _portable.set(True)
    try:
        yield
    finally:
        _portable.reset(token)


@cache
def can_compile() -> bool:
    """Whether `mx.compile` fuses on the CPU: it calls g++, and without one runs each operation by itself."""
    return shutil.which("g++") is not None


class _ThreadEnd:
    """Gives back what MLX keeps for a thread when Python drops this, while Python can still be called.

    Else C++ does it after `Thread.join` has returned, and compiled functions with it: a program that ends just then
    aborts (MLX 0.32.4). No earlier: a thread whose streams are cleared can compute no more.
    """

    def __del__(self) -> None:
        mx.clear_streams()


class _Threads(threading.local):
    """A `_ThreadEnd` in each thread but the main one."""

    def __init__(self) -> None:
        self._end = None if threading.current_thread() is threading.main_thread() else _ThreadEnd()

    def enter(self) -> None:
        """Every use of a thread's own object makes it, if it is the first."""


_threads = _Threads()

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # of glibc's mallopt


@cache
def _keep_freed_memory() -> None:
    """Let glibc keep half a gigabyte of freed memory for the next array instead of giving it back.

    MLX frees every intermediate array at once, and to page its memory in anew costs more than to compute it: a softmax
    of 4 M scores takes 89 ms so, 44 ms from kept memory, at the same peak.
    """
    with contextlib.suppress(AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(MMAP_THRESHOLD, 2**27)
        mallopt(TRIM_THRESHOLD, 2**29)
