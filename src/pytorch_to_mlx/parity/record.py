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

    Modules are watched by giving each instance a subclass of its own class, which is undone at the end.
    """
    tape = Tape(wanted)

    def seen(path: str, output: Any) -> None:
        tape.record(path, output[0] if isinstance(output, tuple) else output)

    token = _tape.set(tape)
    try:
        with watching(network, lambda path: bool(path) and wanted(path), seen):
            yield tape
    finally:
        _tape.reset(token)


@contextmanager
def watching(network: nn.Module, wanted: Callable[[str], bool], seen: Callable[[str, Any], None]) -> Iterator[None]:
    """Call `seen` with the path and the output of every call of a wanted module, the root's path being "".

    Methods `call_2`, `call_3`, ..., which captured modules have that are called in several ways, are calls too.
    """
    hooked: list[tuple[nn.Module, type]] = []
    for path, module in network.named_modules():
        if wanted(path):
            hooked.append((module, type(module)))
            module.__class__ = _watched(type(module), path, seen)
    try:
        yield
    finally:
        for module, original in hooked:
            module.__class__ = original


def _watched(original: type, path: str, seen: Callable[[str, Any], None]) -> type:
    def following(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            output = method(self, *args, **kwargs)
            seen(path, output)
            return output

        return call

    names = [name for name in dir(original) if name == "__call__" or name.startswith("call_")]
    return type(original.__name__, (original,), {name: following(getattr(original, name)) for name in names})
