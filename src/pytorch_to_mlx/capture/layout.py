"""Images and sequences channels-last, as MLX has them: transpositions are put around spatial operators, then moved.

A transposition behind an operator moves past all that works on single elements or names its axes, until it meets one
that undoes it. What remains stands at the ends of the model, and where values are reshaped in torch's order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from pytorch_to_mlx.capture.clean import is_size, operator_name
from pytorch_to_mlx.capture.operators.registry import SPATIAL
from pytorch_to_mlx.capture.sizes import axis_groups, expression, in_example
from pytorch_to_mlx.capture.state import Program
from pytorch_to_mlx.capture.transpositions import (
    PERMUTE,
    inverse,
    is_of_images,
    merge,
    merge_transpose,
    order_of,
    order_to_last,
    permuted,
    turn,
)

VIEWS = {
    "aten.view.default",
    "aten._unsafe_view.default",
    "aten.reshape.default",
    "aten.flatten.using_ints",
    "aten.unflatten.int",
}

# Operators that name an axis: place of that argument, and of the tensor's shape nothing else matters.
SAME_RANK: dict[str, tuple[int, Any]] = {
    "aten.softmax.int": (1, None),
    "aten._softmax.default": (1, None),
    "aten.log_softmax.int": (1, None),
    "aten._log_softmax.default": (1, None),
    "aten.cumsum.default": (1, None),
    "aten.glu.default": (1, -1),
    "aten.flip.default": (1, None),
    "aten.slice.Tensor": (1, 0),
    "aten.cat.default": (1, 0),
    "aten.split.Tensor": (2, 0),
    "aten.split_with_sizes.default": (2, 0),
    "aten.chunk.default": (2, 0),
    "aten.index_select.default": (1, None),
    "aten.cumprod.default": (1, None),
}
REDUCTIONS = {
    "aten.mean.dim": 1,
    "aten.sum.dim_IntList": 1,
    "aten.amax.default": 1,
    "aten.amin.default": 1,
    "aten.any.dim": 1,
    "aten.all.dim": 1,
    "aten.linalg_vector_norm.default": 2,
    "aten.var.correction": 1,
    "aten.std.correction": 1,
    "aten.select.int": 1,
    "aten.squeeze.dim": 1,
    "aten.squeeze.dims": 1,
    "aten.logsumexp.default": 1,
    "aten.argmax.default": 1,
    "aten.argmin.default": 1,
}
"""Operators that remove axes, or keep them with one element: place of the argument that names them."""


PADDINGS = {
    "aten.constant_pad_nd.default",
    "aten.pad.default",
    *(f"aten.{kind}_pad{rank}d.default" for kind in ("reflection", "replication") for rank in (1, 2, 3)),
}
ELEMENTWISE = {
    "aten._to_copy.default",
    "aten.copy.default",
    "aten.zeros_like.default",
    "aten.ones_like.default",
}
"""What torch does not tag as such."""


def channels_last(program: Program) -> None:
    """Rewrite the graph."""
    graph = program.graph
    spatial = [node for node in graph.nodes if node.op == "call_function" and operator_name(node) in SPATIAL]
    for node in spatial:
        _surround(graph, node)
    for node in list(graph.nodes) if spatial else ():
        if node.op == "call_function" and node.target is not PERMUTE and not is_size(node):
            _move_past(program, node)
        elif node.target is PERMUTE:
            merge(node)
    _store_permuted(program)
    _leave_once(graph)
    for node in reversed(list(graph.nodes)):
        if node.target is PERMUTE and not node.users:
            graph.erase_node(node)


def _surround(graph: fx.Graph, node: fx.Node) -> None:
    """Make the image and the results of a spatial operator channels-last."""
    image = node.args[0]
    assert isinstance(image, fx.Node)
    rank = SPATIAL[operator_name(node)]
    ndim = image.meta["val"].ndim
    if rank >= 0 and ndim == rank + 1:
        image = _batched(graph, node, image)
        ndim += 1
    order = order_to_last(ndim)
    with graph.inserting_before(node):
        node.update_arg(0, permuted(graph, image, order, node, outside=True))
        if (name := operator_name(node)).startswith("aten.conv"):
            weight = node.args[1]
            assert isinstance(weight, fx.Node)
            turned = "transpose" in name or (name == "aten.convolution.default" and node.args[6])
            axes = (1, *range(2, ndim), 0) if turned else order
            node.update_arg(1, permuted(graph, weight, axes, node, outside=False))
    outputs = [user for user in node.users if operator_name(user) == "operator.getitem"]
    for output in outputs or [node]:
        if output.meta["val"].ndim == ndim:
            turn(graph, output, order)
    if outputs:
        turned = {output.args[1]: output.meta["val"] for output in outputs}
        node.meta["val"] = tuple(turned.get(place, value) for place, value in enumerate(node.meta["val"]))


def _batched(graph: fx.Graph, node: fx.Node, image: fx.Node) -> fx.Node:
    """The image with a batch axis; results lose theirs behind the operator."""
    with graph.inserting_before(node):
        batched = graph.call_function(torch.ops.aten.unsqueeze.default, (image, 0))
        batched.meta = dict(node.meta) | {"val": image.meta["val"].unsqueeze(0), "print": image.meta.get("print")}
    for output in [user for user in node.users if operator_name(user) == "operator.getitem"] or [node]:
        with graph.inserting_after(output):
            squeezed = graph.call_function(torch.ops.aten.squeeze.dim, (output, 0))
        squeezed.meta = dict(node.meta) | {"val": output.meta["val"], "print": output.meta.get("print")}
        output.replace_all_uses_with(squeezed, delete_user_cb=lambda user, made=squeezed: user is not made)
        output.meta["val"] = output.meta["val"].unsqueeze(0)
    if isinstance(node.meta["val"], tuple | list):
        node.meta["val"] = tuple(value.unsqueeze(0) for value in node.meta["val"])
    return batched


# Moving past other operators.


def _move_past(program: Program, node: fx.Node) -> None:
    name = operator_name(node)
    if name == "aten.transpose.int":
        merge_transpose(program.graph, node)
        return
    if not any(is_of_images(order_of(source)) for source in node.all_input_nodes):
        return
    if name in VIEWS:
        _past_view(program.graph, node)
    elif name in SAME_RANK:
        _past_axis(program.graph, node, *SAME_RANK[name])
    elif name in REDUCTIONS:
        _past_reduction(program.graph, node, REDUCTIONS[name])
    elif name in PADDINGS:
        _past_padding(program.graph, node)
    elif name in ("aten.expand.default", "aten.repeat.default"):
        _past_sizes(program.graph, node)
    elif name in ELEMENTWISE or torch.Tag.pointwise in getattr(node.target, "tags", ()):
        _past_elements(program, node)


def _past_elements(program: Program, node: fx.Node) -> None:
    value = node.meta["val"]
    if not isinstance(value, torch.Tensor):
        return
    sources = [source for source in node.all_input_nodes if isinstance(source.meta.get("val"), torch.Tensor)]
    orders = {order for source in sources if (order := order_of(source)) and len(order) == value.ndim}
    if len(orders) != 1:
        return
    back = orders.pop()
    order = inverse(back)
    if not all(_cheap(program, source, back) for source in sources):
        return
    graph = program.graph
    with graph.inserting_before(node):
        replaced = {source: _aligned(graph, source, order, node) for source in sources}
    node.args = fx.map_arg(node.args, lambda each: replaced.get(each, each))
    node.kwargs = fx.map_arg(node.kwargs, lambda each: replaced.get(each, each))
    turn(graph, node, order)


def _cheap(program: Program, source: fx.Node, back: tuple[int, ...]) -> bool:
    """Whether a transposition of this operand costs nothing: it has one, is stored so, or has few elements."""
    value = source.meta["val"]
    if order_of(source) == back or value.ndim == 0 or source in program.states or source in program.inputs:
        return True
    return sum(expression(size) != 1 for size in value.shape) <= 1


def _aligned(graph: fx.Graph, source: fx.Node, order: Sequence[int], node: fx.Node) -> fx.Node:
    """An operand transposed; one of fewer axes is aligned with the last ones, as broadcasting does."""
    ndim = source.meta["val"].ndim
    if ndim == 0:
        return source
    if ndim == len(order):
        return permuted(graph, source, order, node, outside=True)
    missing = len(order) - ndim
    lead = [place for place in order if place < missing]
    if list(order[:missing]) == lead == list(range(missing)):
        return permuted(graph, source, [place - missing for place in order[missing:]], node, outside=True)
    shape = [1] * missing + list(source.meta["val"].shape)
    view = graph.call_function(torch.ops.aten.view.default, (source, shape))
    view.meta = dict(node.meta) | {"val": source.meta["val"].reshape(shape), "print": source.meta.get("print")}
    return permuted(graph, view, order, node, outside=True)


def _past_axis(graph: fx.Graph, node: fx.Node, place: int, default: Any) -> None:
    listed: list[Any] = list(node.args[0]) if isinstance(node.args[0], list | tuple) else [node.args[0]]
    orders = [order_of(source) for source in listed]
    found = {order for order in orders if order is not None}
    if len(found) != 1 or any(source.meta["val"].ndim != len(next(iter(found))) for source in listed):
        return
    back = found.pop()
    if sum(order is None for order in orders) > len(orders) // 2:
        return
    order = inverse(back)
    with graph.inserting_before(node):
        moved = [permuted(graph, source, order, node, outside=True) for source in listed]
    args: list[Any] = list(node.args)
    args += [default] * (place + 1 - len(args))
    dims = args[place]
    args[0] = moved if isinstance(node.args[0], list | tuple) else moved[0]
    args[place] = [back[dim] for dim in dims] if isinstance(dims, list | tuple) else back[dims]
    node.args = tuple(args)
    outputs = [user for user in node.users if operator_name(user) == "operator.getitem"]
    if isinstance(node.meta["val"], tuple | list):
        for output in outputs:
            turn(graph, output, order)
        node.meta["val"] = tuple(value.permute(order) for value in node.meta["val"])
    else:
        turn(graph, node, order)


def _past_reduction(graph: fx.Graph, node: fx.Node, place: int) -> None:
    source = node.args[0]
    back = order_of(source)
    if back is None or len(node.args) <= place or node.args[place] is None:
        return
    assert isinstance(source, fx.Node)
    dims: Any = node.args[place]
    listed = [dim % len(back) for dim in (dims if isinstance(dims, list | tuple) else [dims])]
    if not listed:
        return
    order = inverse(back)
    inner = source.args[0]
    args: list[Any] = list(node.args)
    args[0] = inner
    args[place] = [back[dim] for dim in listed] if isinstance(dims, list | tuple) else back[listed[0]]
    node.args = tuple(args)
    value = node.meta["val"]
    if value.ndim == len(back):
        turn(graph, node, order)
        return
    squeezed = operator_name(node).startswith("aten.squeeze")  # which keeps axes that are longer than 1
    gone = {dim for dim in listed if not squeezed or in_example(source.meta["val"].shape[dim]) == 1}
    kept = [dim for dim in range(len(back)) if dim not in gone]
    inner_kept = sorted(back[dim] for dim in kept)
    to_old = [inner_kept.index(back[dim]) for dim in kept]
    if to_old != sorted(to_old):
        turn(graph, node, inverse(to_old))


def _past_padding(graph: fx.Graph, node: fx.Node) -> None:
    source = node.args[0]
    back = order_of(source)
    if back is None:
        return
    assert isinstance(source, fx.Node)
    given: Any = node.args[1]
    ndim = len(back)
    pairs = {ndim - 1 - place // 2: (given[place], given[place + 1]) for place in range(0, len(given), 2)}
    order = inverse(back)
    turned = [pairs.get(order[axis], (0, 0)) for axis in range(ndim)]
    flat = [width for pair in reversed(turned) for width in pair]
    node.args = (source.args[0], flat, *node.args[2:])
    turn(graph, node, order)


def _past_sizes(graph: fx.Graph, node: fx.Node) -> None:
    source = node.args[0]
    back = order_of(source)
    sizes: Any = node.args[1]
    if back is None or len(sizes) != len(back):
        return
    assert isinstance(source, fx.Node)
    order = inverse(back)
    node.args = (source.args[0], [sizes[place] for place in order], *node.args[2:])
    turn(graph, node, order)


def _past_view(graph: fx.Graph, node: fx.Node) -> None:
    """A reshape that joins or splits axes which stand together on both sides of the transposition."""
    source = node.args[0]
    back = order_of(source)
    if back is None:
        return
    assert isinstance(source, fx.Node)
    before, after = list(source.meta["val"].shape), list(node.meta["val"].shape)
    groups = axis_groups(before, after)
    if groups is None:
        return
    starts = []
    for ins, _ in groups:
        axes = [back[dim] for dim in ins if len(ins) == 1 or expression(before[dim]) != 1]
        if axes != list(range(axes[0], axes[0] + len(axes))) if axes else False:
            return
        starts.append(axes[0] if axes else -1)
    by_inner = sorted(range(len(groups)), key=lambda place: starts[place])
    inner_out = [dim for place in by_inner for dim in groups[place][1]]
    shape = [after[dim] for dim in inner_out]
    order = inner_out  # the inner result has the old one's axes in this order
    node.target = torch.ops.aten.view.default
    node.kwargs = {}
    node.args = (source.args[0], shape)
    if order != sorted(order):
        turn(graph, node, order)


def _leave_once(graph: fx.Graph) -> None:
    """Transpose what a module returns in its caller, where the caller uses it channels-last too."""
    for node in [node for node in graph.nodes if node.target is PERMUTE and node.users]:
        source, stack = node.args[0], dict(node.meta.get("nn_module_stack") or {})
        own = next(reversed(stack), None)
        assert isinstance(source, fx.Node)
        if own not in (source.meta.get("nn_module_stack") or {}):
            continue
        inside = [user for user in node.users if own in (user.meta.get("nn_module_stack") or {})]
        outside = [user for user in source.users if own not in (user.meta.get("nn_module_stack") or {})]
        if inside or not outside:
            continue
        first = min(node.users)
        shared = (first.meta.get("nn_module_stack") or dict([next(iter(stack.items()))])).keys() & stack.keys()
        node.meta["nn_module_stack"] = {key: value for key, value in stack.items() if key in shared}
        first.prepend(node)


# Stored tensors.


def _store_permuted(program: Program) -> None:
    """Store a tensor transposed where every use of it is one and the same transposition."""
    for node in program.states:
        users = [user for user in node.users if not is_size(user)]
        orders = {order_of(user) for user in users}
        if len(orders) != 1 or None in orders or not users:
            continue
        (order,) = orders
        assert order is not None
        program.layouts[program.states[node]] = order
        node.meta["val"] = node.meta["val"].permute(order)
        for user in users:
            user.replace_all_uses_with(node)
