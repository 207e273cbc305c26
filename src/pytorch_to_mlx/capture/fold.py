"""Weights that the original computes anew in each call from its parameters alone: they are computed once, here."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from pytorch_to_mlx.capture.clean import operator_name
from pytorch_to_mlx.capture.names import free_name
from pytorch_to_mlx.capture.state import Program

WEIGHTS = {
    "aten.linear.default": (1, 2),
    "aten.embedding.default": (0,),
    "aten.convolution.default": (1, 2),
    **{f"aten.conv{rank}d.{form}": (1, 2) for rank in (1, 2, 3) for form in ("default", "padding")},
    "aten.conv_transpose1d.default": (1, 2),
    "aten.conv_transpose2d.input": (1, 2),
    "aten.conv_transpose3d.input": (1, 2),
    "aten.rms_norm.default": (2,),
}
"""Which arguments of an operator are weights."""


def fold_weights(program: Program) -> None:
    """Replace what weights are computed by (weight norm, standardization) with stored tensors.

    Each is called `weight` or `bias` in the module that uses it, or by the parameter that it was computed from.
    """
    graph = program.graph
    free = _input_free(program)
    values: dict[fx.Node, Any] = {}
    for node in list(graph.nodes):
        for place in WEIGHTS.get(operator_name(node), ()) if node.op == "call_function" else ():
            source = node.args[place] if place < len(node.args) else None
            if isinstance(source, fx.Node) and source in free and source not in program.states:
                node.update_arg(place, _stored(program, node, source, place, values))
    for node in reversed(list(graph.nodes)):
        if node in free and node not in program.states and not node.users:
            graph.erase_node(node)


def _input_free(program: Program) -> set[fx.Node]:
    """Nodes that depend on states alone that no call changes, floating-point ones among them."""
    free = {node for node, name in program.states.items() if name not in program.mutated}
    for node in program.graph.nodes:
        if (
            node.op == "call_function"
            and node.all_input_nodes
            and torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ())
            and all(source in free for source in node.all_input_nodes)
        ):
            free.add(node)
    return free


def _stored(program: Program, user: fx.Node, source: fx.Node, place: int, values: dict[fx.Node, Any]) -> fx.Node:
    value = _evaluate(program, source, values)
    stack = list((user.meta.get("nn_module_stack") or {}).values())
    path = stack[-1][0] if stack else ""
    leaf = "weight" if place == WEIGHTS[operator_name(user)][0] else "bias"
    name = f"{path}.{leaf}" if path else leaf
    if name in program.tensors and not _only_for(program, name, source):
        name = free_name(name, program.tensors)
    with program.graph.inserting_before(next(iter(program.graph.nodes))):
        made = program.graph.placeholder(f"folded_{source.name}")
    made.meta["val"] = source.meta["val"]
    program.folded[name] = tuple(sorted({program.states[each] for each in _sources(source) if each in program.states}))
    program.states = {node: each for node, each in program.states.items() if each != name} | {made: name}
    program.tensors[name] = value.detach().contiguous()
    return made


def _only_for(program: Program, name: str, source: fx.Node) -> bool:
    """Whether the tensor `name` serves to compute `source` alone."""
    inside = _sources(source) | {source}
    (node,) = [node for node, each in program.states.items() if each == name] or [None]
    return node is None or all(user in inside for user in node.users)


def _sources(node: fx.Node) -> set[fx.Node]:
    found: set[fx.Node] = set()
    waiting = [node]
    while waiting:
        for source in waiting.pop().all_input_nodes:
            if source not in found:
                found.add(source)
                waiting.append(source)
    return found


def _evaluate(program: Program, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
    if node in program.states:
        return program.tensors[program.states[node]]
    if node not in values:
        args = fx.map_arg(node.args, lambda each: _evaluate(program, each, values))
        kwargs = fx.map_arg(node.kwargs, lambda each: _evaluate(program, each, values))
        with torch.no_grad():
            values[node] = node.target(*args, **kwargs)  # type: ignore[operator]
    return values[node]
