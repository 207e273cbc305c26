"""`int` of a size is a size still while torch traces, which would make it a number and hold the size to that."""

from __future__ import annotations

import builtins
import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class _Kind(type):
    """Of a class that is called, and asked about, as `int` is."""

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, builtins.int)

    def __subclasscheck__(cls, kind: type) -> bool:
        return issubclass(kind, builtins.int)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and isinstance(args[0], torch.SymInt | torch.SymFloat):
            return torch.sym_int(args[0])
        return builtins.int(*args, **kwargs)


class _Whole(builtins.int, metaclass=_Kind):
    """Stands for `int` in the files of a model."""


def _source(function: Any) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):  # written at run time
        return ""


@contextmanager
def sizes_stay(module: torch.nn.Module) -> Iterator[None]:
    """Within the block `int` of a size is a size in the files where the module's forwards stand, but those of torch."""
    spaces: dict[builtins.int, dict[str, Any]] = {}
    for each in module.modules():
        if re.search(r"\b(?:is|==)\s+int\b", _source(type(each).forward)):
            continue
        space = getattr(inspect.unwrap(type(each).forward), "__globals__", {})
        if "int" not in space and not str(space.get("__name__", "torch")).startswith("torch."):
            spaces[id(space)] = space
    for space in spaces.values():
        space["int"] = _Whole
    try:
        yield
    finally:
        for space in spaces.values():
            del space["int"]
