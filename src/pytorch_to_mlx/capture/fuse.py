"""Operators that models write by hand and MLX has whole: GELU, SiLU, RMSNorm, attention, heads that share keys.

Each pattern is matched exactly; what is not recognised stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import fx

from pytorch_to_mlx.capture.clean import operator_name, same_size
from pytorch_to_mlx.capture.simplify import number
from pytorch_to_mlx.capture.state import Program

aten = torch.ops.aten

NEAR = 1e-6
"""How near, relatively, a model's own constants are to those of the formula."""

MULTIPLY = {"aten.mul.Tensor", "aten.mul.Scalar"}
DIVIDE = {"aten.div.Tensor", "aten.div.Scalar"}
ADD = {"aten.add.Tensor", "aten.add.Scalar"}
CUBIC = 0.044715
DEPTH = 12


def fuse(program: Program) -> None:
    """Replace what is recognised; the nodes that it consisted of are left to `clean`."""
    for replace in (_gelu, _silu, _root_mean_square, _weighted, _attention, _shared_heads):
        for node in list(program.graph.nodes):
            if node.op == "call_function" and node.users and isinstance(node.meta.get("val"), torch.Tensor):
                replace(program.graph, node)


def substitute(graph: fx.Graph, node: Any, target: Callable[..., Any], args: tuple, **kwargs: Any) -> fx.Node:
    """Put one call in the place of `node`, of which it has the value and the origin."""
    with graph.inserting_before(node):
        made = graph.call_function(target, args, kwargs)
    made.meta = dict(node.meta)
    node.replace_all_uses_with(made)
    return made


def is_call(node: Any, *names: str) -> bool:
    """Whether a node is a call of one of ATen's operators `names`."""
    return isinstance(node, fx.Node) and node.op == "call_function" and operator_name(node) in names


def operands(node: Any, names: set[str]) -> tuple[Any, Any] | None:
    """Of a plain sum, product or quotient, both operands."""
    if not is_call(node, *names) or node.kwargs.get("alpha", 1) != 1 or len(node.args) != 2:
        return None
    return node.args[0], node.args[1]


def scaled(node: Any) -> tuple[Any, float] | None:
    """Of something times or over a number: that, and the factor."""
    if found := operands(node, MULTIPLY):
        a, b = found
        if (factor := number(b)) is not None:
            return a, factor
        if (factor := number(a)) is not None:
            return b, factor
    if found := operands(node, DIVIDE):
        divisor = number(found[1])
        if divisor:
            return found[0], 1 / divisor
    return None


def shifted(node: Any) -> tuple[Any, float] | None:
    """Of something plus a number: both."""
    if found := operands(node, ADD):
        a, b = found
        if (term := number(b)) is not None and isinstance(a, fx.Node):
            return a, term
        if (term := number(a)) is not None and isinstance(b, fx.Node):
            return b, term
    return None


def near(a: float, b: float) -> bool:
    """Whether both are the same constant."""
    return abs(a - b) <= NEAR * abs(b)


# Activations.


def _gelu(graph: fx.Graph, node: Any) -> None:
    """x / 2 (1 + erf(x / sqrt(2))), and the form with tanh, in whatever order they are multiplied."""
    if not is_call(node, *MULTIPLY, *DIVIDE):
        return
    for gate in _factors(node):
        inner = shifted(gate)
        if inner is None or inner[1] != 1 or not is_call(inner[0], "aten.erf.default", "aten.tanh.default"):
            continue
        argument = inner[0].args[0]
        tanh = is_call(inner[0], "aten.tanh.default")
        root = math.sqrt(2 / math.pi)
        wanted = {1: root, 3: root * CUBIC} if tanh else {1: math.sqrt(0.5)}
        for x in _ancestors(argument):
            if _is_polynomial(argument, x, wanted) and _is_half_product(node, x, gate):
                substitute(graph, node, aten.gelu.default, (x,), **({"approximate": "tanh"} if tanh else {}))
                return


def _silu(graph: fx.Graph, node: Any) -> None:
    found = operands(node, MULTIPLY)
    for x, gate in (found, found[::-1]) if found else ():
        if is_call(gate, "aten.sigmoid.default") and gate.args[0] is x and len(gate.users) == 1:
            substitute(graph, node, aten.silu.default, (x,))
            return


def _factors(node: Any, depth: int = 0) -> Iterator[fx.Node]:
    """The nodes that a product is of, products within too."""
    if isinstance(node, fx.Node):
        yield node
        found = operands(node, MULTIPLY | DIVIDE)
        for each in found if found and depth < DEPTH else ():
            yield from _factors(each, depth + 1)


def _ancestors(node: Any, depth: int = 0) -> Iterator[fx.Node]:
    """Nodes that a polynomial may be of, the nearest first."""
    if isinstance(node, fx.Node) and depth < DEPTH:
        yield node
        if is_call(node, *MULTIPLY, *DIVIDE, *ADD, "aten.pow.Tensor_Scalar", "aten.square.default"):
            for each in node.all_input_nodes:
                yield from _ancestors(each, depth + 1)


Polynomial = dict[int, float]


def _is_polynomial(node: Any, x: Any, wanted: Polynomial) -> bool:
    found = _polynomial(node, x)
    return found is not None and set(found) == set(wanted) and all(near(found[k], wanted[k]) for k in wanted)


def _polynomial(node: Any, x: Any) -> Polynomial | None:
    """A value as a polynomial of `x`, by degree; None where it is none."""
    if node is x:
        return {1: 1.0}
    constant = number(node)
    if constant is not None:
        return {0: constant}
    if is_call(node, "aten.pow.Tensor_Scalar") and node.args[1] in (2, 3):
        base = _polynomial(node.args[0], x)
        return base and _times(base, base if node.args[1] == 2 else _times(base, base))
    if is_call(node, "aten.square.default"):
        base = _polynomial(node.args[0], x)
        return base and _times(base, base)
    for names, combine in ((MULTIPLY, _times), (ADD, _plus), (DIVIDE, _over)):
        if found := operands(node, names):
            a, b = (_polynomial(each, x) for each in found)
            return None if a is None or b is None else combine(a, b)
    return None


def _times(a: Polynomial, b: Polynomial) -> Polynomial:
    made: Polynomial = {}
    for i, p in a.items():
        for j, q in b.items():
            made[i + j] = made.get(i + j, 0.0) + p * q
    return made


def _plus(a: Polynomial, b: Polynomial) -> Polynomial:
    return {k: a.get(k, 0.0) + b.get(k, 0.0) for k in {*a, *b}}


def _over(a: Polynomial, b: Polynomial) -> Polynomial | None:
    return {k: value / b[0] for k, value in a.items()} if set(b) == {0} and b[0] else None


def _is_half_product(node: Any, x: Any, gate: Any) -> bool:
    """Whether a node is x gate / 2."""
    constant, rest = 1.0, []
    waiting: list[Any] = [node]
    while waiting:
        each = waiting.pop()
        if each is x or each is gate:
            rest.append(each)
        elif (factor := number(each)) is not None:
            constant *= factor
        elif found := operands(each, MULTIPLY):
            waiting += found
        elif (part := scaled(each)) is not None:
            constant *= part[1]
            waiting.append(part[0])
        else:
            return False
    return near(constant, 0.5) and len(rest) == 2 and set(rest) == {x, gate}


# Norms.


def _root_mean_square(graph: fx.Graph, node: Any) -> None:
    """x rsqrt(mean(x^2) + eps) over the last axis."""
    for x, root in _divided(node):
        found = shifted(root)
        if found is None or found[1] <= 0 or not is_call(found[0], "aten.mean.dim"):
            continue
        mean, eps = found
        square, axes, keep = (*mean.args, False)[:3]
        value = x.meta.get("val")
        if not isinstance(value, torch.Tensor) or not value.is_floating_point() or not value.ndim or keep is not True:
            continue
        last = axes in ([-1], [value.ndim - 1], (-1,))
        size = value.shape[-1]
        if last and isinstance(size, int) and _is_square(square, x) and value.dtype == node.meta["val"].dtype:
            substitute(graph, node, aten.rms_norm.default, (x, [size], None, eps))
            return


def _divided(node: Any) -> Iterator[tuple[Any, Any]]:
    """Each way in which a node is a / sqrt(b): a and b."""
    found = operands(node, MULTIPLY)
    for a, b in (found, found[::-1]) if found else ():
        inverse = is_call(b, "aten.rsqrt.default") or (is_call(b, "aten.pow.Tensor_Scalar") and b.args[1] == -0.5)
        if inverse and isinstance(a, fx.Node):
            yield a, b.args[0]
    if found := operands(node, DIVIDE):
        a, b = found
        root = is_call(b, "aten.sqrt.default") or (is_call(b, "aten.pow.Tensor_Scalar") and b.args[1] == 0.5)
        if root and isinstance(a, fx.Node):
            yield a, b.args[0]


def _is_square(node: Any, x: Any) -> bool:
    if is_call(node, "aten.pow.Tensor_Scalar"):
        return node.args[0] is x and node.args[1] == 2
    if is_call(node, "aten.square.default"):
        return node.args[0] is x
    found = operands(node, MULTIPLY) if isinstance(node, fx.Node) else None
    return found is not None and found[0] is x and found[1] is x


def _weighted(graph: fx.Graph, node: Any) -> None:
    """A root mean square norm times a weight for each channel."""
    found = operands(node, MULTIPLY)
    for normal, weight in (found, found[::-1]) if found else ():
        if not is_call(normal, "aten.rms_norm.default") or len(normal.users) != 1 or not isinstance(weight, fx.Node):
            continue
        x, shape, given, eps = normal.args
        value = weight.meta.get("val")
        if given is not None or not isinstance(value, torch.Tensor) or value.ndim != 1 or len(shape) != 1:
            continue
        if same_size(value.shape[0], shape[0]) and value.dtype == x.meta["val"].dtype:
            substitute(graph, node, aten.rms_norm.default, (x, shape, weight, eps))
            return


# Attention.


def _attention(graph: fx.Graph, node: Any) -> None:
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


def _shared_heads(graph: fx.Graph, node: Any) -> None:
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
