"""Where a node comes from: the module that was called, the line of its forward, the variable it was assigned to."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import fx

from pytorch_to_mlx.capture.tree import Frame

LINE = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)')


@dataclass(frozen=True)
class Statement:
    """A statement of the original source.

    Attributes:
        file, line: where it begins.
        targets: the plain names that it assigns to, if it does.
        unpacks: whether it assigns to several.
    """

    file: str
    line: int
    targets: tuple[str, ...] = ()
    unpacks: bool = False


class Origins:
    """Answers for one captured module; without it, from what the graph tells alone."""

    def __init__(self, module: torch.nn.Module | None) -> None:
        self._forwards: Mapping[str, tuple[str, int, int]] = {}
        self._names: Mapping[str, list[str]] = {}
        self._sequences: set[str] = set()
        if module is not None:
            modules = dict(module.named_modules(remove_duplicate=False))
            self._forwards = {path: span for path, each in modules.items() if (span := _span(type(each))) is not None}
            forward = torch.nn.Sequential.forward
            self._sequences = {path for path, each in modules.items() if type(each).forward is forward}
            self._names = {path: _parameters(type(each)) for path, each in modules.items()}

    def frames(self, node: fx.Node) -> list[Frame]:
        """The calls that a node belongs to, the outermost first; none where torch does not tell.

        A view that torch made anew where it was used is told by its line, which is of the module that wrote it.
        """
        stack = node.meta.get("nn_module_stack") or {}
        frames = [
            (key, path, kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}")
            for key, (path, kind) in stack.items()
            if not key.startswith("_empty")
        ]
        found = LINE.findall(node.meta.get("stack_trace") or "")
        if frames and found:
            file, line = found[-1][0], int(found[-1][1])
            for depth in range(len(frames), 0, -1):
                span = self._forwards.get(frames[depth - 1][1])
                if span and span[0] == file and span[1] <= line <= span[2]:
                    return frames[:depth]
        return frames

    def is_sequence(self, path: str, kind: str) -> bool:
        """Whether a module calls those that it holds one after the other, and does nothing else."""
        return path != "" and (path in self._sequences or kind == "torch.nn.modules.container.Sequential")

    def statement(self, node: fx.Node, path: str) -> Statement | None:
        """The statement in the forward of the module at `path` that a node was made by."""
        span = self._forwards.get(path)
        if span is None:
            return None
        for file, line, _ in reversed(LINE.findall(node.meta.get("stack_trace") or "")):
            if file == span[0] and span[1] <= int(line) <= span[2]:
                return _statement_at(file, int(line))
        return None

    def line(self, node: fx.Node) -> str:
        """`file:line` of the innermost line that made a node, for people."""
        found = LINE.findall(node.meta.get("stack_trace") or "")
        return f"{found[-1][0]}:{found[-1][1]}" if found else ""

    def parameters(self, path: str) -> list[str]:
        """The names of what the forward of the module at `path` takes."""
        return self._names.get(path, [])


def _span(kind: type[torch.nn.Module]) -> tuple[str, int, int] | None:
    try:
        function = inspect.unwrap(kind.forward)
        lines, start = inspect.getsourcelines(function)
        return inspect.getsourcefile(function) or "", start, start + len(lines) - 1
    except (OSError, TypeError):
        return None


def _parameters(kind: type[torch.nn.Module]) -> list[str]:
    try:
        found = inspect.signature(inspect.unwrap(kind.forward)).parameters.values()
    except (TypeError, ValueError):
        return []
    return [
        each.name for each in found if each.name != "self" and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]


@cache
def _statements(file: str) -> list[ast.stmt]:
    try:
        tree = ast.parse(Path(file).read_text())
    except (OSError, SyntaxError, UnicodeDecodeError):
        return []
    simple = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.Expr)
    return [each for each in ast.walk(tree) if isinstance(each, simple)]


@cache
def _statement_at(file: str, line: int) -> Statement:
    around = [each for each in _statements(file) if each.lineno <= line <= (each.end_lineno or each.lineno)]
    if not around:
        return Statement(file, line)
    found = max(around, key=lambda each: each.lineno)
    if isinstance(found, ast.Assign) and len(found.targets) == 1:
        target = found.targets[0]
    elif isinstance(found, ast.AugAssign | ast.AnnAssign):
        target = found.target
    else:
        return Statement(file, found.lineno)
    if isinstance(target, ast.Name):
        return Statement(file, found.lineno, (target.id,))
    if isinstance(target, ast.Tuple) and all(isinstance(each, ast.Name) for each in target.elts):
        return Statement(file, found.lineno, tuple(each.id for each in target.elts if isinstance(each, ast.Name)), True)
    return Statement(file, found.lineno)
