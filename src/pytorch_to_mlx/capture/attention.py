"""Attention that a model writes by hand, and keys and values that it repeats for heads that share them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from pytorch_to_mlx.capture.clean import same_size
from pytorch_to_mlx.capture.patterns import ADD, is_call, operands, scaled, substitute

aten = torch.ops.aten


def product(graph: fx.Graph, node: Any) -> None:
    """An einsum that is a product of matrices over the last axes: "bhqd,bhkd->bhqk"."""
    if not is_call(node, "aten.einsum.default") or len(node.args[1]) != 2 or "." in node.args[0]:
        return
    if "->" not in node.args[0]:
        return
    left, right, out = node.args[0].replace(" ", "").replace("->", ",").split(",")
    a, b = node.args[1]
    batch, rank = out[:-2], len(out)
    plain = [len(set(each)) == len(each) == rank and each.startswith(batch) for each in (left, right, out)]
    if rank < 3 or not all(plain) or left[-2] != out[-2] or not a.meta["val"].is_floating_point():
        return
    shapes = [each.meta["val"].shape[: rank - 2] for each in (a, b, node)]
    if not all(same_size(x, y) for shape in shapes for x, y in zip(shape, shapes[-1], strict=True)):
        return
    if right[-2:] == left[-1] + out[-1]:
        substitute(graph, node, aten.matmul.default, (a, b))
    elif right[-2:] == out[-1] + left[-1]:
        with graph.inserting_before(node):
            turned = _transposed(graph, b)
        substitute(graph, node, aten.matmul.default, (a, turned))


def attention(graph: fx.Graph, node: Any) -> None:
    """softmax(q k^T scale + mask) v, where nobody else needs the softmax."""
    if not is_call(node, "aten.matmul.default", "aten.bmm.default"):
        return
    weights, v = node.args
    if not is_call(weights, "aten.softmax.int", "aten._softmax.default") or len(weights.users) != 1:
        return
    scores, axis = weights.args[0], weights.args[1]
    value = weights.meta["val"]
    if axis not in (-1, value.ndim - 1) or value.dtype != scores.meta["val"].dtype or value.ndim not in (3, 4):
        return
    masks: list[fx.Node] = []
    scale = 1.0
    while not is_call(scores, "aten.matmul.default", "aten.bmm.default"):
        if not isinstance(scores, fx.Node) or len(scores.users) != 1:
            return
        if (part := scaled(scores)) is not None:
            scale *= part[1]
            scores = part[0]
        elif (terms := operands(scores, ADD)) is not None and scale == 1.0 and _tensors(terms):
            product = next((each for each in terms if _leads_to_product(each)), None)
            if product is None:
                return
            masks.append(terms[1] if product is terms[0] else terms[0])
            scores = product
        else:
            return
    q, turned = scores.args
    if len(scores.users) != 1 or not _attends(q, turned, v, value):
        return
    if any(mask.meta["val"].dtype not in (value.dtype,) or mask.meta["val"].ndim > value.ndim for mask in masks):
        return
    with graph.inserting_before(node):
        k = _transposed(graph, turned)
        mask = _sum(graph, masks)
    substitute(graph, node, aten.scaled_dot_product_attention.default, (q, k, v, mask), scale=scale)


def _tensors(terms: Sequence[Any]) -> bool:
    return all(isinstance(each, fx.Node) and isinstance(each.meta.get("val"), torch.Tensor) for each in terms)


def _leads_to_product(node: Any) -> bool:
    """Whether a value is a product of matrices, but for factors and sums."""
    while isinstance(node, fx.Node) and not is_call(node, "aten.matmul.default", "aten.bmm.default"):
        if len(node.users) != 1:
            return False
        if (part := scaled(node)) is not None:
            node = part[0]
        elif (terms := operands(node, ADD)) is not None and _tensors(terms):
            return any(_leads_to_product(each) for each in terms)
        else:
            return False
    return isinstance(node, fx.Node)


def _attends(q: Any, turned: Any, v: fx.Node, scores: torch.Tensor) -> bool:
    """Whether shapes are those of attention: the same batch and heads throughout."""
    values: list[Any] = [each.meta.get("val") if isinstance(each, fx.Node) else None for each in (q, turned, v)]
    if not all(isinstance(each, torch.Tensor) and each.ndim == scores.ndim for each in values):
        return False
    if not all(each.is_floating_point() and each.dtype == scores.dtype for each in values):
        return False
    return all(same_size(each.shape[axis], scores.shape[axis]) for each in values for axis in range(scores.ndim - 2))


def _transposed(graph: fx.Graph, node: Any) -> fx.Node:
    """A value with its last axes exchanged; what exchanged them before is left out."""
    value = node.meta["val"]
    rank = value.ndim
    order = [*range(rank - 2), rank - 1, rank - 2]
    source = node
    if is_call(node, "aten.transpose.int"):
        a, b = (int(dim) % rank for dim in node.args[1:3])
        inner = list(range(rank))
        inner[a], inner[b] = inner[b], inner[a]
        source, order = node.args[0], [inner[place] for place in order]
    elif is_call(node, "aten.permute.default"):
        inner = [int(dim) % rank for dim in node.args[1]]
        source, order = node.args[0], [inner[place] for place in order]
    if order == sorted(order):
        return source
    moved = [place for place in range(rank) if order[place] != place]
    if len(moved) == 2:
        made = graph.call_function(aten.transpose.int, (source, *moved))
    else:
        made = graph.call_function(aten.permute.default, (source, order))
    made.meta = {key: node.meta[key] for key in ("stack_trace", "nn_module_stack", "print") if key in node.meta}
    made.meta["val"] = value.transpose(-1, -2)
    return made


def _sum(graph: fx.Graph, masks: Sequence[fx.Node]) -> fx.Node | None:
    total = masks[-1] if masks else None
    for mask in reversed(masks[:-1]):
        assert total is not None
        made = graph.call_function(aten.add.Tensor, (total, mask))
        made.meta = {key: mask.meta[key] for key in ("stack_trace", "nn_module_stack") if key in mask.meta}
        made.meta["val"] = total.meta["val"] + mask.meta["val"]
        total = made
    return total


def shared_heads(graph: fx.Graph, node: Any) -> None:
    """Keys and values that are repeated for each head of a group: MLX's attention shares them itself."""
    if not is_call(node, "aten.scaled_dot_product_attention.default"):
        return
    q, k, v, *rest = node.args
    keys, values = _unrepeated(k), _unrepeated(v)
    if keys is None or values is None or not same_size(keys.meta["val"].shape[1], values.meta["val"].shape[1]):
        return
    kwargs = dict(node.kwargs) | {"enable_gqa": True}
    substitute(graph, node, aten.scaled_dot_product_attention.default, (q, keys, values, *rest), **kwargs)


def _unrepeated(node: Any) -> fx.Node | None:
    """x of (batch, heads, length, depth), where a node is each of its heads several times in a row."""
    if not is_call(node, "aten.view.default", "aten.reshape.default", "aten._unsafe_view.default"):
        return None
    wide = node.args[0]
    if not is_call(wide, "aten.expand.default") or wide.meta["val"].ndim != 5 or node.meta["val"].ndim != 4:
        return None
    narrow = wide.args[0]
    if not is_call(narrow, "aten.unsqueeze.default") or narrow.args[1] != 2:
        return None
    x = narrow.args[0]
    batch, heads, times, length, depth = wide.meta["val"].shape
    before, after = x.meta["val"].shape, node.meta["val"].shape
    kept = all(same_size(a, b) for a, b in zip(before, (batch, heads, length, depth), strict=True))
    joined = all(same_size(a, b) for a, b in zip(after, (batch, heads * times, length, depth), strict=True))
    return x if kept and joined else None
