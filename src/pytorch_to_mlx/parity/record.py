"""Taps on the MLX side: named values that model code offers with `tap`, and the outputs of named modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import mlx.core as mx
import mlx.nn as nn
import numpy as np

T = TypeVar("T")


class Tape:
    """Values recorded by name, in order of execution. A name recorded again keeps its first value.

    Attributes:
        taps: name -> value, float32 or integer.
        wanted: tells which names to keep; modules make far more than a comparison needs.
    """

    def __init__(self, wanted: Callable[[str], bool] = lambda name: True) -> None:
        self.taps: dict[str, np.ndarray] = {}
        self.wanted = wanted
        self._scope = ""

    def record(self, name: str, value: Any) -> None:
        """Keep `value` under `name` within the current scope, if wanted and not there yet."""
        name = self._scope + name
        if name in self.taps or not self.wanted(name):
            return
        if isinstance(value, mx.array) and value.dtype in (mx.float16, mx.bfloat16):
            value = value.astype(mx.float32)
        self.taps[name] = np.array(value)

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Record under `name/` within the block."""
        outer, self._scope = self._scope, f"{self._scope}{name}/"
        try:
            yield
        finally:
            self._scope = outer


_tape: ContextVar[Tape | None] = ContextVar("tape", default=None)


def tap(name: str, value: T) -> T:
    """Offer `value` to whoever records; returns it unchanged. Costs one look-up when nobody does."""
    tape = _tape.get()
    if tape is not None:
        tape.record(name, value)
    return value


def is_recording() -> bool:
    """Whether what `tap` offers is recorded."""
    return _tape.get() is not None


def scope(name: str) -> Any:
    """Context manager: taps within the block stand under `name/`, if anybody records."""
    from contextlib import nullcontext

    tape = _tape.get()
    return tape.scope(name) if tape is not None else nullcontext()


@contextmanager
def recording(network: nn.Module, wanted: Callable[[str], bool] = lambda name: True) -> Iterator[Tape]:
    """Record what `tap` offers within the block, and the first output of every module of `network` under its path.

    Modules are hooked by giving each instance a subclass of its own class, which is undone at the end.
    """
    tape = Tape(wanted)
    hooked: list[tuple[nn.Module, type]] = []
    for path, module in network.named_modules():
        if path and wanted(path):
            hooked.append((module, type(module)))
            module.__class__ = _recorded(type(module), path, tape)
    token = _tape.set(tape)
    try:
        yield tape
    finally:
        _tape.reset(token)
        for module, original in hooked:
            module.__class__ = original


def _recorded(original: type, path: str, tape: Tape) -> type:
    def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        output = original.__call__(self, *args, **kwargs)
        tape.record(path, output[0] if isinstance(output, tuple) else output)
        return output

    return type(original.__name__, (original,), {"__call__": call})
