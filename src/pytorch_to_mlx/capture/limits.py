"""A limit of time for a block of Python code that may never end."""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections.abc import Iterator

STEP = 0.5  # seconds between looks at the clock; ours is raised again then, since some code catches every exception


class _OutOfTimeError(BaseException):
    """No `Exception`, which the block may catch."""


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """End the block with a TimeoutError when it takes more processor time, in whatever thread it runs."""
    last = time.process_time() + seconds
    thread, over, lock = threading.get_ident(), threading.Event(), threading.Lock()

    def watch() -> None:
        while not over.wait(STEP):
            with lock:
                if not over.is_set() and time.process_time() > last:
                    _raise_in(thread, _OutOfTimeError)

    def end() -> None:
        with lock:
            over.set()
            _raise_in(thread, None)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except _OutOfTimeError:
        raise TimeoutError(f"it takes more than {seconds:g} s of processor time") from None
    finally:
        try:
            end()
        except _OutOfTimeError:  # raised as the block ended
            end()


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    """Have a thread raise an exception at its next step; None takes one back that it has not raised yet."""
    given = None if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), given)
