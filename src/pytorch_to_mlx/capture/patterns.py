"""What passes that recognise parts of a graph ask of its nodes, and how they replace them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import fx

from pytorch_to_mlx.capture.clean import operator_name
from pytorch_to_mlx.capture.simplify import number

NEAR = 1e-6
"""How near, relatively, a model's own constants are to those of the formula."""

MULTIPLY = {"aten.mul.Tensor", "aten.mul.Scalar"}
DIVIDE = {"aten.div.Tensor", "aten.div.Scalar"}
ADD = {"aten.add.Tensor", "aten.add.Scalar"}


def substitute(graph: fx.Graph, node: Any, target: Callable[..., Any], args: tuple, **kwargs: Any) -> fx.Node:
    """Put one call in the place of `node`, of which it has the value and the origin."""
    with graph.inserting_before(node):
        made = graph.call_function(target, args, kwargs)
    made.meta = dict(node.meta)
    node.replace_all_uses_with(made)
    graph.erase_node(node)
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
