"""What one call of a module computes twice, computed once."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from pytorch_to_mlx.capture.clean import has_effect, is_size
from pytorch_to_mlx.capture.origin import Origins
from pytorch_to_mlx.capture.state import Program


def compute_once(program: Program, origins: Origins) -> None:
    """Let equal operators on equal operands share one node, within a call: what a loop would compute anew each time.

    Not where the original source gives the results different names.
    """
    known: dict[tuple, fx.Node] = {}
    for node in list(program.graph.nodes):
        frames = origins.frames(node) if node.op == "call_function" and not is_size(node) else []
        if not frames or has_effect(node) or _draws(node):
            continue
        call, path, _ = frames[-1]
        statement = origins.statement(node, path)
        names = statement.targets if statement is not None else ()
        key = (call, names, node.target, _plain(node.args), _plain(node.kwargs))
        first = known.setdefault(key, node)
        if first is not node:
            node.replace_all_uses_with(first)
            program.graph.erase_node(node)


def _draws(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded in node.target.tags


def _plain(value: Any) -> Any:
    """An argument as a key: sizes by what they are, whichever node they come from, and numbers with their type."""
    if isinstance(value, fx.Node):
        found = value.meta.get("val")
        return str(found) if is_size(value) and isinstance(found, torch.SymInt) else value
    if isinstance(value, dict):
        return tuple((name, _plain(each)) for name, each in value.items())
    if isinstance(value, tuple | list):
        return tuple(map(_plain, value))
    return type(value), str(value)
