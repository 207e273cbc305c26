"""Transpositions in a graph: made, merged, and said of a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from pytorch_to_mlx.capture.clean import operator_name

PERMUTE = torch.ops.aten.permute.default


def order_to_last(ndim: int) -> tuple[int, ...]:
    """The axes of (batch, channels, *spatial) in the order (batch, *spatial, channels)."""
    return (0, *range(2, ndim), 1) if ndim > 2 else tuple(range(ndim))


def inverse(order: Sequence[int]) -> tuple[int, ...]:
    """What undoes a transposition."""
    return tuple(sorted(range(len(order)), key=lambda place: order[place]))


def order_of(node: Any) -> tuple[int, ...] | None:
    """The order of a transposition, if a node is one."""
    if not isinstance(node, fx.Node) or node.op != "call_function":
        return None
    name = operator_name(node)
    ndim = node.meta["val"].ndim if isinstance(node.meta.get("val"), torch.Tensor) else 0
    if name == "aten.permute.default":
        return tuple(dim % ndim for dim in node.args[1])  # type: ignore[union-attr]
    if name == "aten.transpose.int" and ndim:
        order = list(range(ndim))
        a, b = (int(dim) % ndim for dim in node.args[1:3])  # type: ignore[arg-type]
        order[a], order[b] = order[b], order[a]
        return tuple(order)
    return None


def is_of_images(order: tuple[int, ...] | None) -> bool:
    """Whether a transposition turns images or sequences: spatial axes as a whole change places with all channels'.

    Others, as those of attention's heads, stay where they are.
    """
    if order is None or len(order) < 3 or order[0] != 0 or order[1] == 1:
        return False
    return list(order[1:]) == [*range(order[1], len(order)), *range(1, order[1])]


def permuted(graph: fx.Graph, source: fx.Node, order: Sequence[int], like: fx.Node, outside: bool) -> fx.Node:
    """`source` transposed, at the graph's place of insertion; transpositions that meet become one or none."""
    inner = order_of(source)
    if inner is not None:
        first = source.args[0]
        assert isinstance(first, fx.Node)
        order, source = [inner[place] for place in order], first
    if list(order) == list(range(len(order))):
        return source
    made = graph.call_function(PERMUTE, (source, list(order)))
    made.meta = {key: like.meta[key] for key in ("stack_trace",) if key in like.meta}
    stack = dict(like.meta.get("nn_module_stack") or {})
    if outside and len(stack) > 1:
        stack.popitem()
    made.meta |= {"nn_module_stack": stack, "moved": True}
    made.meta["val"] = source.meta["val"].permute(tuple(order))
    made.meta["print"] = source.meta.get("print")
    return made


def turn(graph: fx.Graph, node: fx.Node, order: Sequence[int]) -> None:
    """Say that `node` is now its old value in `order`, and give its users the old value."""
    with graph.inserting_after(node):
        back = graph.call_function(PERMUTE, (node, list(inverse(order))))
    back.meta = {key: node.meta[key] for key in ("stack_trace",) if key in node.meta}
    stack = dict(node.meta.get("nn_module_stack") or {})
    if len(stack) > 1:
        stack.popitem()
    back.meta |= {"nn_module_stack": stack, "moved": True, "val": node.meta["val"], "print": node.meta.get("print")}
    node.replace_all_uses_with(back, delete_user_cb=lambda user: user is not back)
    node.meta["val"] = node.meta["val"].permute(tuple(order))


def merge(node: fx.Node) -> None:
    """Make one of a transposition of a transposition, or none."""
    source = node.args[0]
    inner, order = order_of(source), order_of(node)
    if inner is None or order is None:
        return
    assert isinstance(source, fx.Node) and isinstance(source.args[0], fx.Node)
    merged = [inner[place] for place in order]
    if merged == sorted(merged):
        node.replace_all_uses_with(source.args[0])
    else:
        node.args = (source.args[0], merged)


def merge_transpose(graph: fx.Graph, node: fx.Node) -> None:
    source = node.args[0]
    if order_of(source) is None:
        return
    assert isinstance(source, fx.Node)
    order = order_of(node)
    assert order is not None
    with graph.inserting_before(node):
        made = permuted(graph, source, order, node, outside=False)
    node.replace_all_uses_with(made)
