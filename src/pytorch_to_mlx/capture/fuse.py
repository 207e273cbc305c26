"""Operators that models write by hand and MLX has whole: GELU, SiLU, RMSNorm, attention, heads that share keys.

Each pattern is matched exactly; what is not recognised stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx

from pytorch_to_mlx.capture.attention import attention, product, shared_heads
from pytorch_to_mlx.capture.clean import same_size
from pytorch_to_mlx.capture.patterns import ADD, DIVIDE, MULTIPLY, is_call, near, operands, scaled, shifted, substitute
from pytorch_to_mlx.capture.simplify import number
from pytorch_to_mlx.capture.state import Program

aten = torch.ops.aten

CUBIC = 0.044715
DEPTH = 12


def fuse(program: Program) -> None:
    """Replace what is recognised; the nodes that it consisted of are left to `clean`."""
    for replace in (product, _gelu, _silu, _root_mean_square, _weighted, attention, shared_heads):
        for node in list(program.graph.nodes):
            if node.op == "call_function" and node.users and isinstance(node.meta.get("val"), torch.Tensor):
                replace(program.graph, node)


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
        args: tuple[Any, ...] = (*normal.args, None, None)  # torch leaves out what is a default
        x, shape, given, eps = args[:4]
        value = weight.meta.get("val")
        if given is not None or not isinstance(value, torch.Tensor) or value.ndim != 1 or len(shape) != 1:
            continue
        if same_size(value.shape[0], shape[0]) and value.dtype == x.meta["val"].dtype:
            substitute(graph, node, aten.rms_norm.default, (x, shape, weight, eps))
            return
