"""Which values the items of a call use, and where last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import fx

from pytorch_to_mlx.capture.body import Made
from pytorch_to_mlx.capture.clean import is_size
from pytorch_to_mlx.capture.tree import Call

Item = fx.Node | Call


def uses_of(items: Sequence[Item], children: Mapping[Call, Made]) -> dict[fx.Node, int]:
    """How many of the items use each value."""
    uses: dict[fx.Node, int] = {}
    for each in items:
        for node in _sources(each, children):
            uses[node] = uses.get(node, 0) + 1
    return uses


def last_uses_of(items: Sequence[Item], children: Mapping[Call, Made]) -> dict[fx.Node, int]:
    """The place of the last item that uses each value."""
    return {node: place for place, each in enumerate(items) for node in _sources(each, children)}


def _sources(each: Item, children: Mapping[Call, Made]) -> Iterator[fx.Node]:
    if isinstance(each, Call):
        yield from children[each].inputs
    else:
        for value in (*each.args, *each.kwargs.values()):
            yield from _nodes_in(value)


def _nodes_in(value: Any) -> Iterator[fx.Node]:
    if isinstance(value, fx.Node):
        if not is_size(value):
            yield value
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _nodes_in(each)


def bound_arguments(node: fx.Node) -> tuple[list[Any], dict[str, Any]]:
    """A node's arguments by its schema: positional ones in order with all defaults, keyword-only ones by name."""
    target: Any = node.target
    if not isinstance(target, torch._ops.OpOverload):
        return list(node.args), dict(node.kwargs)
    args, kwargs = [], {}
    for place, argument in enumerate(target._schema.arguments):
        if argument.kwarg_only:
            if argument.name in node.kwargs:
                kwargs[argument.name] = node.kwargs[argument.name]
        elif place < len(node.args):
            args.append(node.args[place])
        else:
            args.append(node.kwargs.get(argument.name, argument.default_value))
    return args, kwargs
