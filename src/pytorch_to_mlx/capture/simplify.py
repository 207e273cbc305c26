"""What follows from sizes alone, in its plainest form: masks and positions that models build of ranges.

Sums with nothing, masks of truth, axes that broadcasting adds anyway, and lookups of everything in order.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from pytorch_to_mlx.capture.clean import operator_name, same_shape, same_size
from pytorch_to_mlx.capture.code import Code, item
from pytorch_to_mlx.capture.emitter import Emitter, Tensor
from pytorch_to_mlx.capture.operators.indexing import takes_mask
from pytorch_to_mlx.capture.operators.registry import lowers
from pytorch_to_mlx.capture.state import Program

aten = torch.ops.aten

ADD = {"aten.add.Tensor", "aten.add.Scalar", "aten.sub.Tensor", "aten.sub.Scalar"}
SCALE = {"aten.mul.Tensor", "aten.mul.Scalar", "aten.div.Tensor", "aten.div.Scalar"}
BOTH = {"aten.bitwise_and.Tensor", "aten.logical_and.default", "aten.__and__.Tensor"}
EITHER = {"aten.bitwise_or.Tensor", "aten.logical_or.default", "aten.__or__.Tensor"}
COMPARISONS = {f"aten.{name}.{form}" for name in ("le", "lt", "ge", "gt", "eq", "ne") for form in ("Tensor", "Scalar")}
BROADCAST = ADD | SCALE | BOTH | EITHER | COMPARISONS


def expand_dims(x: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
    """x with axes of one element, which are numbered as in the result and ascend."""
    for axis in axes:
        x = x.unsqueeze(axis)
    return x


EXPAND = f"{expand_dims.__module__}.{expand_dims.__name__}"


@lowers(EXPAND)
def lower_expand_dims(e: Emitter, x: Tensor, axes: Sequence[int]) -> Code:
    ndim = x.ndim + len(axes)
    parts = ["None" if axis in axes else ":" for axis in range(ndim)]
    kept = ndim - next(place for place, part in enumerate(reversed(parts)) if part == "None")
    if parts.index("None") > 1 and kept == ndim and parts.index("None") == x.ndim:
        return item(x, ", ".join(["...", *["None"] * len(axes)]))
    return item(x, ", ".join(parts[:kept]))


def simplify(program: Program) -> None:
    """Rewrite the graph."""
    for replace in (_nothing, _constant_truth, _choice, _masked, _lookup, _joined, _hoisted, _joined):
        for node in list(program.graph.nodes):
            if node.op == "call_function" and node.users and isinstance(node.meta.get("val"), torch.Tensor):
                replace(program.graph, node)


def _nothing(graph: fx.Graph, node: Any) -> None:
    """Of integers x + 0, and x * 1 and x / 1, and x[:]."""
    name = operator_name(node)
    if name == "aten.slice.Tensor":
        _, _, start, end, step = (*node.args, *(0, None, None, 1)[len(node.args) - 1 :])
        if start in (None, 0) and step == 1 and (end is None or (isinstance(end, int) and end >= sys.maxsize)):
            node.replace_all_uses_with(node.args[0])
        return
    neutral = 0 if name in ADD else 1 if name in SCALE else None
    if neutral is None or node.kwargs.get("rounding_mode") or len(node.args) < 2:
        return
    if neutral == 0 and node.meta["val"].is_floating_point():  # -0.0 + 0 is 0.0
        return
    x, other = node.args[:2]
    if name in {"aten.add.Tensor", "aten.mul.Tensor"} and not isinstance(x, fx.Node):
        x, other = other, x
    if isinstance(other, int | float) and not isinstance(other, bool) and other == neutral and _alike(x, node):
        node.replace_all_uses_with(x)


def _masked(graph: fx.Graph, node: Any) -> None:
    """x[mask] = y[mask], whose parts have no known shape, is a choice of elements."""
    if operator_name(node) != "aten.index_put.default" or any(node.args[3:]):
        return
    x, indices, values = node.args[:3]
    if not isinstance(values, fx.Node) or not takes_mask(values):
        return
    y, others = values.args[:2]
    if len(indices) != 1 or len(others) != 1 or not _is_same(indices[0], others[0]) or not _alike(y, node):  # type: ignore[arg-type,index]
        return
    (mask,) = indices
    with graph.inserting_before(node):
        made = mask
        for _ in range(node.meta["val"].ndim - mask.meta["val"].ndim):
            value = made.meta["val"].unsqueeze(-1)
            made = graph.call_function(aten.unsqueeze.default, (made, -1))
            made.meta = dict(node.meta) | {"val": value, "print": None}
        chosen = graph.call_function(aten.where.self, (made, y, x))
    chosen.meta = dict(node.meta)
    node.replace_all_uses_with(chosen)


def _is_same(a: Any, b: Any) -> bool:
    """Whether two nodes compute the same of the same."""
    alike = isinstance(a, fx.Node) and isinstance(b, fx.Node) and a.op == b.op == "call_function"
    return a is b or (alike and (a.target, a.args, a.kwargs) == (b.target, b.args, b.kwargs))


def _alike(x: Any, node: fx.Node) -> bool:
    value, made = x.meta.get("val") if isinstance(x, fx.Node) else None, node.meta["val"]
    return isinstance(value, torch.Tensor) and value.dtype == made.dtype and same_shape(value.shape, made.shape)


def _constant_truth(graph: fx.Graph, node: Any) -> None:
    """x and True, x or False."""
    name = operator_name(node)
    if name not in BOTH | EITHER or node.meta["val"].dtype != torch.bool:
        return
    for x, other in (node.args, node.args[::-1]):
        if _constant(other) is (name in BOTH) and _alike(x, node):
            node.replace_all_uses_with(x)
            return


def _constant(node: Any) -> bool | None:
    """The truth value that all elements have."""
    if not isinstance(node, fx.Node) or node.op != "call_function" or node.meta["val"].dtype != torch.bool:
        return None
    name = operator_name(node)
    if name in ("aten.ones.default", "aten.new_ones.default", "aten.ones_like.default"):
        return True
    if name in ("aten.zeros.default", "aten.new_zeros.default", "aten.zeros_like.default"):
        return False
    if name in ("aten.full.default", "aten.new_full.default", "aten.full_like.default"):
        value = node.args[-1]
        return bool(value) if isinstance(value, bool | int) else None
    if name == EXPAND or name in ("aten.unsqueeze.default", "aten.expand.default", "aten.view.default"):
        return _constant(node.args[0])
    return None


def number(value: Any) -> float | None:
    """A constant that is one number; None if `value` is none."""
    if isinstance(value, fx.Node) and value.op == "call_function":
        name = operator_name(value)
        if name in ("aten.zeros.default", "aten.ones.default") and list(value.args[0]) == []:  # type: ignore[arg-type]
            return float(name == "aten.ones.default")
        if name == "aten.full.default" and list(value.args[0]) == []:  # type: ignore[arg-type]
            return number(value.args[1])
        return number(value.args[0]) if name == "aten.scalar_tensor.default" else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _choice(graph: fx.Graph, node: Any) -> None:
    """A choice between two numbers in float32, one of them written as a tensor."""
    if not operator_name(node).startswith("aten.where.") or node.meta["val"].dtype != torch.float32:
        return
    condition, *choices = node.args
    numbers = [number(each) for each in choices]
    if len(numbers) == 2 and None not in numbers and same_shape(condition.meta["val"].shape, node.meta["val"].shape):
        node.target, node.args = aten.where.Scalar, (condition, *numbers)


# Axes of one element.


def _axes(node: Any) -> tuple[Any, list[int]]:
    """What a value is without axes that were put into it, and where those are."""
    if isinstance(node, fx.Node) and node.op == "call_function":
        name = operator_name(node)
        if name == EXPAND:
            return node.args[0], list(node.args[1])  # type: ignore[arg-type]
        if name == "aten.unsqueeze.default":
            return node.args[0], [int(node.args[1]) % node.meta["val"].ndim]  # type: ignore[arg-type]
    return node, []


def _joined(graph: fx.Graph, node: Any) -> None:
    """Axes that are put in one after the other, at once."""
    source, outer = _axes(node)
    inside, inner = _axes(source)
    if not outer or not inner:
        return
    places = [axis for axis in range(node.meta["val"].ndim) if axis not in outer]
    made = _with_axes(graph, node, inside, sorted([*outer, *(places[axis] for axis in inner)]), node.meta["val"])
    node.replace_all_uses_with(made)


def _with_axes(graph: fx.Graph, node: fx.Node, x: fx.Node, axes: list[int], value: torch.Tensor) -> fx.Node:
    with graph.inserting_before(node):
        made = graph.call_function(expand_dims, (x, axes))
    made.meta = dict(node.meta) | {"val": value}
    return made


def _hoisted(graph: fx.Graph, node: Any) -> None:
    """Of integers and truth values: leading axes of one element behind the operator, where broadcasting adds them."""
    value = node.meta["val"]
    if operator_name(node) not in BROADCAST or value.is_floating_point() or value.is_complex():
        return
    tensors = [each for each in node.all_input_nodes if isinstance(each.meta.get("val"), torch.Tensor)]
    if any(each.meta["val"].is_floating_point() or each.meta["val"].is_complex() for each in tensors):
        return
    bare = {each: _without_leading(each) for each in tensors}
    if not any(lead for _, _, lead in bare.values()):
        return
    ndim = max(each.meta["val"].ndim - lead for each, (_, _, lead) in bare.items())
    hoisted = value.ndim - ndim
    replaced = {}
    for each, (inside, axes, lead) in bare.items():
        rest = [axis - lead for axis in axes if axis >= lead]
        if not lead:
            replaced[each] = each
        elif rest:
            replaced[each] = _with_axes(graph, node, inside, rest, _first(each.meta["val"], lead))
        else:
            replaced[each] = inside
    node.args = fx.map_arg(node.args, lambda each: replaced.get(each, each))
    if not hoisted:
        return
    node.meta["val"] = _first(value, hoisted)
    with graph.inserting_after(node):
        made = graph.call_function(expand_dims, (node, list(range(hoisted))))
    made.meta = dict(node.meta) | {"val": value}
    node.replace_all_uses_with(made, delete_user_cb=lambda user: user is not made)


def _without_leading(node: fx.Node) -> tuple[Any, list[int], int]:
    """What a value is without the axes put into it, those axes, and how many of them come first."""
    inside, axes = _axes(node)
    lead = 0
    while lead in axes:
        lead += 1
    return inside, axes, lead


def _first(value: torch.Tensor, count: int) -> torch.Tensor:
    for _ in range(count):
        value = value[0]
    return value


# Lookups.


def _lookup(graph: fx.Graph, node: Any) -> None:
    """x[0 .. its first sizes, each along an axis of its own]: x itself, with axes between."""
    if operator_name(node) not in ("aten.index.Tensor", "aten._unsafe_index.Tensor"):
        return
    x, indices = node.args
    found = [_ramp(each) for each in indices]
    ramps = [ramp for ramp in found if ramp is not None]
    if not ramps or len(ramps) != len(found):
        return
    ndim = max(each.meta["val"].ndim for each in indices)
    places = [ramp[0] + ndim - each.meta["val"].ndim for ramp, each in zip(ramps, indices, strict=True)]
    if places != sorted(set(places)):
        return
    value = x.meta["val"]
    for axis, (_, size) in enumerate(ramps):
        if not same_size(size, value.shape[axis]):
            with graph.inserting_before(node):
                part = graph.call_function(aten.slice.Tensor, (x, axis, 0, _size_node(indices[axis]) or size))
            value = value.narrow(axis, 0, size)
            part.meta = dict(node.meta) | {"val": value, "print": None}
            x = part
    axes = [axis for axis in range(ndim) if axis not in places]
    if axes:
        x = _with_axes(graph, node, x, axes, node.meta["val"])
    node.replace_all_uses_with(x)


def _ramp(node: Any) -> tuple[int, Any] | None:
    """The axis along which a value is 0, 1, 2 and so on, and its length; all other axes have one element."""
    if not isinstance(node, fx.Node) or node.op != "call_function":
        return None
    name = operator_name(node)
    if name in ("aten.arange.default", "aten.arange.start", "aten.arange.start_step"):
        start = node.args[0] if name != "aten.arange.default" else 0
        step = node.args[2] if len(node.args) > 2 else 1
        plain = start == 0 and step == 1 and not node.meta["val"].is_floating_point()
        return (0, node.meta["val"].shape[0]) if plain else None
    inside, axes = _axes(node)
    found = _ramp(inside) if axes else None
    if found is None:
        return None
    places = [axis for axis in range(node.meta["val"].ndim) if axis not in axes]
    return places[found[0]], found[1]


def _size_node(node: Any) -> Any:
    """The length of a range as the graph has it."""
    while operator_name(node) not in ("aten.arange.default", "aten.arange.start", "aten.arange.start_step"):
        node = node.args[0]
    return node.args[0] if operator_name(node) == "aten.arange.default" else node.args[1]
