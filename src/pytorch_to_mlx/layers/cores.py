"""Every core at work where MLX uses one.

A stream of the CPU backend computes on one core. Only OpenBLAS's matrix products spread over the others, which idle
between them: half of the time of a transformer, since elementwise work is slow there. `apart` gives each item of a
batch a core of its own instead. All this is for small Linux machines with OpenBLAS's threads; elsewhere it changes
nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache, partial
from itertools import cycle, pairwise
from typing import Any, TypeVar

import mlx.core as mx

from pytorch_to_mlx.layers.device import linux_cpu

T = TypeVar("T")

MOST_CORES = 4  # for batches of two: with more, OpenBLAS's threads gain as much

_lock = threading.Lock()
_working = 0  # threads inside `apart`
_threads = 0  # of OpenBLAS, before the first of them
_here = threading.local()


def apart(layer: Callable[[mx.array], mx.array], batch: mx.array, *held: Any) -> mx.array:
    """`layer(batch)`: where cores are ours, of each item by itself on a core of its own, and evaluated.

    `held` are the other arrays, or trees of them, that `layer` takes: they are evaluated first, for no thread can
    compute what another one was to compute.
    """
    if len(batch) == 1 or on_one_core() or not linux_cpu() or not _streams():
        return layer(batch)
    mx.eval(batch, *held)
    with _one_thread_for_products():
        streams = zip(range(len(batch)), cycle(_streams()), strict=False)
        parts = together([partial(_compute, layer, batch, i, stream) for i, stream in streams])
    return mx.concatenate(parts)


def _compute(layer: Callable[[mx.array], mx.array], batch: mx.array, i: int, stream: Any) -> mx.array:
    _here.alone = True
    linux_cpu()  # which sees to the end of this thread
    with mx.stream(stream):
        y = layer(batch[i : i + 1])
        mx.eval(y)
    return y


def on_each_core(work: Callable[[mx.array], mx.array], items: mx.array) -> mx.array | None:
    """`work` of `items`, each core its share of them, joined; None where cores are not ours, and for fewer than cores.

    For work whose products OpenBLAS leaves to one thread.
    """
    streams = [] if on_one_core() else _streams()
    if not streams or len(items) < len(streams):
        return None
    parts = []
    for stream, (start, end) in zip(streams, shares(len(items), len(streams)), strict=True):
        with mx.stream(stream):
            parts.append(work(items[start:end]))
    return mx.concatenate(parts)


@contextlib.contextmanager
def on_core(place: int | None) -> Iterator[None]:
    """Operations within the block go to that core where cores are ours, beside what is done on others; None: as ever.

    For work whose products OpenBLAS leaves to one thread.
    """
    streams = [] if place is None or on_one_core() or not linux_cpu() else _streams()
    with mx.stream(streams[place % len(streams)]) if streams and place is not None else contextlib.nullcontext():
        yield


def shares(count: int, parts: int) -> list[tuple[int, int]]:
    """Where each of so many parts of `count` items starts and ends; they differ by one item at most."""
    return list(pairwise(count * n // parts for n in range(parts + 1)))


@cache
def usable_cores() -> int:
    """Cores that this process may run on, on Linux, and no more than OpenBLAS was given threads."""
    cores = len(os.sched_getaffinity(0))
    if _openblas() is None:
        return cores
    with _lock:
        return min(cores, _threads if _working else _openblas().openblas_get_num_threads())


def on_one_core() -> bool:
    """Whether this thread computes its share of something that all cores compute."""
    return getattr(_here, "alone", False)


def together(calls: Sequence[Callable[[], T]]) -> list[T]:
    """What the calls return, as many at once as there are cores; a single one runs in this thread.

    None of them still runs when this ends, not even when it is interrupted.
    """
    if len(calls) == 1:
        return [calls[0]()]
    jobs = [_helpers().submit(call) for call in calls]
    try:
        wait(jobs)
    except BaseException:
        wait([job for job in jobs if not job.cancel()])
        raise
    return [job.result() for job in jobs]


@cache
def _helpers() -> ThreadPoolExecutor:
    """Threads for shares of the work, one for each core."""
    return ThreadPoolExecutor(usable_cores(), thread_name_prefix="core")


@cache
def _streams() -> list[Any]:
    """One for each core that OpenBLAS may use; none where they would not help."""
    if sys.platform != "linux" or _openblas() is None:
        return []
    cores = usable_cores()
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
        _openblas().openblas_set_num_threads(1)
        yield
    finally:
        with _lock:
            _working -= 1
            if not _working:
                _openblas().openblas_set_num_threads(_threads)
