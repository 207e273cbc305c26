"""What the graph says but no reader needs: checks, copies and views that change nothing, dead code."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

aten = torch.ops.aten

COPIES = {
    "aten.alias.default",
    "aten.clone.default",
    "aten.contiguous.default",
    "aten.detach.default",
    "aten.detach_.default",
    "aten.lift_fresh_copy.default",
    "aten.lift_fresh.default",
    "aten.dropout.default",
    "aten.feature_dropout.default",
    "aten.alpha_dropout.default",
    "aten._conj_physical.default",
    "aten.resolve_conj.default",
    "aten.resolve_neg.default",
}
RESHAPES = {
    "aten.view.default",
    "aten._unsafe_view.default",
    "aten.reshape.default",
    "aten.expand.default",
    "aten._to_copy.default",
    "aten.to.dtype",
    "aten.slice.Tensor",
    "aten.squeeze.dims",
    "aten.squeeze.dim",
    "aten.squeeze.default",
    "aten.permute.default",
    "aten.flatten.using_ints",
    "aten.type_as.default",
}
CHECKS = {
    "aten._assert_async.msg",
    "aten._assert_async.default",
    "aten._assert_scalar.default",
    "aten._assert_tensor_metadata.default",
    "aten.sym_constrain_range_for_size.default",
    "aten.sym_constrain_range.default",
}


def clean(graph: fx.Graph) -> None:
    """Remove what has no effect on any result. Sizes keep their nodes, which nothing uses: they follow from shapes."""
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        name = operator_name(node)
        if name == "aten._native_batch_norm_legit_no_training.default":
            _plain_batch_norm(graph, node)
            continue
        if name in CHECKS or getattr(node.target, "__name__", "") in ("_assert_scalar",):
            graph.erase_node(node)
        elif (name in COPIES and _same(node) and not _alters(node, name)) or (
            name in RESHAPES and _same(node) and _is_identity(node, name)
        ):
            node.replace_all_uses_with(node.args[0])
    for node in reversed(list(graph.nodes)):
        if node.op == "call_function" and not node.users and not has_effect(node):
            graph.erase_node(node)


def operator_name(node: fx.Node) -> str:
    """As `aten.add.Tensor`; of Python's own functions, `operator.mul`."""
    target: Any = node.target
    if isinstance(target, torch._ops.OpOverload):
        return str(target)
    return f"{getattr(target, '__module__', '')}.{getattr(target, '__name__', target)}".replace(
        "_operator.", "operator."
    )


def has_effect(node: fx.Node) -> bool:
    """Whether a call does more than compute its result."""
    target: Any = node.target
    return isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable


def is_size(node: Any) -> bool:
    """Whether the node is a number that follows from shapes."""
    return isinstance(node, fx.Node) and isinstance(node.meta.get("val"), torch.SymInt | torch.SymFloat | torch.SymBool)


def _same(node: fx.Node) -> bool:
    before, after = node.args[0], node.meta.get("val")
    if not isinstance(before, fx.Node) or not isinstance(after, torch.Tensor):
        return False
    value = before.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dtype == after.dtype and same_shape(value.shape, after.shape)


def same_shape(a: torch.Size, b: torch.Size) -> bool:
    """Whether both are the same expressions."""
    return len(a) == len(b) and all(same_size(x, y) for x, y in zip(a, b, strict=True))


def same_size(x: Any, y: Any) -> bool:
    """Whether both are the same expression, without a guard."""
    symbolic = [isinstance(each, torch.SymInt) for each in (x, y)]
    if any(symbolic):
        return all(symbolic) and x.node.expr == y.node.expr
    return x == y


def _alters(node: fx.Node, name: str) -> bool:
    """Whether this call of what else is a copy changes values: dropout in training, conjugates of complex numbers."""
    if "dropout" in name:
        return bool(node.args[1]) and bool(node.args[2])
    return bool(name == "aten._conj_physical.default" and node.meta["val"].dtype.is_complex)


def _is_identity(node: fx.Node, name: str) -> bool:
    if name == "aten.permute.default":
        return list(node.args[1]) == list(range(len(node.args[1])))  # type: ignore[arg-type]
    if name == "aten.slice.Tensor":
        return len(node.args) < 5 or node.args[4] in (None, 1)
    return True


def _plain_batch_norm(graph: fx.Graph, node: fx.Node) -> None:
    """One result instead of three, two of which are for training."""
    x, weight, bias, mean, variance, momentum, eps = node.args
    with graph.inserting_after(node):
        args = (x, weight, bias, mean, variance, False, momentum, eps, False)
        plain = graph.call_function(aten.batch_norm.default, args)
    plain.meta = dict(node.meta) | {"val": node.meta["val"][0]}
    for user in list(node.users):
        if user.args[1] == 0:
            plain.meta["print"] = user.meta.get("print")
            user.replace_all_uses_with(plain)
        graph.erase_node(user)
    graph.erase_node(node)
