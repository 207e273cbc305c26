"""Every core at work where MLX uses one.

A stream of the CPU backend computes on one core. Only OpenBLAS's matrix products spread over the others, which idle
between them: half of the time of a transformer, since elementwise work is slow there. Inside `on_every_core` the items
of a batch get streams of their own instead, and a product stays on the core of its stream. All this is for small Linux
machines with OpenBLAS's threads; elsewhere it changes nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache
from itertools import cycle
from typing import Any

import mlx.core as mx

from pytorch_to_mlx.layers.device import linux_cpu

MOST_CORES = 4  # for batches of two: with more, OpenBLAS's threads gain as much

_lock = threading.Lock()
_working = 0  # threads of ours inside `on_every_core`
_threads = 0  # of OpenBLAS, before the first of them
_here = threading.local()


def on_every_core(work: Callable[[], mx.array]) -> mx.array:
    """What `work` returns, and evaluated where the cores are shared out: for batches of two or more."""
    if _inside() or not linux_cpu() or not _streams():
        return work()
    with _one_thread_for_products():
        y = work()
        mx.eval(y)
    return y


def apart(layer: Callable[..., mx.array], x: mx.array, *rest: Any) -> mx.array:
    """`layer(x, *rest)`: inside `on_every_core`, for each item of the batch `x` by itself, with all of `rest`."""
    if len(x) == 1 or not _inside():
        return layer(x, *rest)
    parts = []
    for i, stream in zip(range(len(x)), cycle(_streams()), strict=False):
        with mx.stream(stream):
            parts.append(layer(x[i : i + 1], *rest))
    return mx.concatenate(parts)


def on_each_core(work: Callable[..., mx.array], *items: mx.array) -> mx.array | None:
    """`work` of the first and of the next of all `items`, each core its share, joined; None where cores are not ours,
    and for fewer items than cores.

    For work whose products OpenBLAS leaves to one thread.
    """
    streams = [] if _inside() else _streams()
    if not streams or len(items[0]) < len(streams):
        return None
    bounds = [len(items[0]) * n // len(streams) for n in range(len(streams) + 1)]
    parts = []
    for stream, start, end in zip(streams, bounds, bounds[1:], strict=False):
        with mx.stream(stream):
            parts.append(work(*(each[start:end] for each in items)))
    return mx.concatenate(parts)


def _inside() -> bool:
    return getattr(_here, "inside", False)


@cache
def _streams() -> list[Any]:
    """One for each core that OpenBLAS may use; none where they would not help."""
    if sys.platform != "linux" or _openblas() is None:
        return []
    with _lock:
        allowed = _threads if _working else _openblas().openblas_get_num_threads()
    cores = min(len(os.sched_getaffinity(0)), allowed)
    if not 1 < cores <= MOST_CORES:
        return []
    return [mx.new_thread_local_stream(mx.cpu) for _ in range(cores)]


@cache
def _openblas() -> Any:
    """The library of MLX's products, if it is OpenBLAS with threads that can be told off (OpenMP's cannot)."""
    library: Any = ctypes.CDLL(None)
    return library if hasattr(library, "openblas_get_parallel") and library.openblas_get_parallel() == 1 else None


@contextlib.contextmanager
def _one_thread_for_products() -> Iterator[None]:
    """Within the block, for the whole process: outermost in, last out, when several threads of ours are in it."""
    global _working, _threads
    with _lock:
        if not _working:
            _threads = _openblas().openblas_get_num_threads()
        _working += 1
    try:
        _here.inside = True
        _openblas().openblas_set_num_threads(1)
        yield
    finally:
        _here.inside = False
        with _lock:
            _working -= 1
            if not _working:
                _openblas().openblas_set_num_threads(_threads)
