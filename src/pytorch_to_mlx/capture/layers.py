"""Calls that are one of `mlx.nn`'s layers, or of `pytorch_to_mlx.runtime`'s where that has none that fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import fx

from pytorch_to_mlx.capture.clean import operator_name
from pytorch_to_mlx.capture.code import Code, Slots, call
from pytorch_to_mlx.capture.state import Program
from pytorch_to_mlx.capture.tree import Call


@dataclass(frozen=True)
class Layer:
    """A call that becomes a layer.

    Attributes:
        constructor: writes the expression that makes it.
        inputs: what it is called with.
        layouts: how its tensors are stored, by name: the order of their axes.
    """

    constructor: Callable[[Slots], Code]
    inputs: tuple[fx.Node, ...]
    outputs: tuple[fx.Node, ...]
    layouts: dict[str, tuple[int, ...]] = field(default_factory=dict)


class Own:
    """The tensors of a module, by which its operator is known to be a layer of that module alone."""

    def __init__(self, program: Program, callee: Call) -> None:
        self._program, self._path = program, callee.path

    def named(self, node: object, name: str) -> torch.Tensor | None:
        """The value of the module's own tensor `name`, if `node` is that."""
        if not isinstance(node, fx.Node):
            return None
        full = f"{self._path}.{name}" if self._path else name
        found = self._program.states.get(node)
        return self._program.tensors[full] if found == full else None


Recogniser = Callable[[fx.Node, Own], Layer | None]
RECOGNISERS: dict[str, Recogniser] = {}


def recognises(*operators: str) -> Callable[[Recogniser], Recogniser]:
    """Register a function that makes a layer of a call whose only node is one of `operators`, or None."""

    def register(function: Recogniser) -> Recogniser:
        RECOGNISERS.update({name if name.count(".") == 2 else f"aten.{name}": function for name in operators})
        return function

    return register


def layer_of(program: Program, callee: Call) -> Layer | None:
    """The layer that a call is, if it is one."""
    nodes = [item for item in callee.items if isinstance(item, fx.Node)]
    if len(nodes) != len(callee.items) or not nodes:
        return None
    first = nodes[0]
    if any(operator_name(node) != "operator.getitem" or node.args[0] is not first for node in nodes[1:]):
        return None
    recognise = RECOGNISERS.get(operator_name(first))
    return recognise(first, Own(program, callee)) if recognise else None


def _arguments(node: fx.Node) -> list:
    schema = node.target._schema.arguments  # type: ignore[union-attr]
    return [
        node.args[place] if place < len(node.args) else node.kwargs.get(each.name, each.default_value)
        for place, each in enumerate(schema)
    ]


def _layer(
    node: fx.Node,
    name: str,
    inputs: list,
    numbers: dict[str, object],
    layouts: dict[str, tuple[int, ...]] | None = None,
) -> Layer | None:
    if not all(isinstance(each, fx.Node) for each in inputs):
        return None

    def constructor(slots: Slots) -> Code:
        given = {
            key: value if isinstance(value, bool | str) or value is None else slots.add(value, key.lstrip("_"))
            for key, value in numbers.items()
        }
        positional = [value for key, value in given.items() if key.startswith("_")]
        return call(name, *positional, **{key: value for key, value in given.items() if not key.startswith("_")})

    return Layer(constructor, tuple(inputs), (node,), layouts or {})


@recognises("linear.default")
def _linear(node: fx.Node, own: Own) -> Layer | None:
    x, weight, bias = _arguments(node)
    matrix = own.named(weight, "weight")
    if matrix is None or (bias is not None and own.named(bias, "bias") is None):
        return None
    outputs, inputs = matrix.shape
    sizes = {"_input_dims": inputs, "_output_dims": outputs}
    return _layer(node, "nn.Linear", [x], sizes | ({"bias": False} if bias is None else {}))


@recognises("embedding.default")
def _embedding(node: fx.Node, own: Own) -> Layer | None:
    weight, indices = _arguments(node)[:2]
    matrix = own.named(weight, "weight")
    if matrix is None:
        return None
    return _layer(node, "nn.Embedding", [indices], {"_num_embeddings": matrix.shape[0], "_dims": matrix.shape[1]})


@recognises("layer_norm.default")
def _layer_norm(node: fx.Node, own: Own) -> Layer | None:
    x, shape, weight, bias, eps, _ = _arguments(node)
    if len(shape) != 1:
        return None
    if weight is None and bias is None:
        return _layer(node, "nn.LayerNorm", [x], {"_dims": shape[0], "eps": eps, "affine": False})
    if own.named(weight, "weight") is None or (bias is not None and own.named(bias, "bias") is None):
        return None
    return _layer(
        node, "nn.LayerNorm", [x], {"_dims": shape[0], "eps": eps} | ({"bias": False} if bias is None else {})
    )


@recognises("rms_norm.default")
def _rms_norm(node: fx.Node, own: Own) -> Layer | None:
    x, shape, weight, eps = _arguments(node)
    if len(shape) != 1 or eps is None or own.named(weight, "weight") is None:
        return None
    return _layer(node, "nn.RMSNorm", [x], {"_dims": shape[0], "eps": eps})


def _activation(name: str, **numbers: object) -> Recogniser:
    return lambda node, own: _layer(node, name, [node.args[0]], numbers)


RECOGNISERS |= {
    f"aten.{operator}.default": _activation(name)
    for operator, name in {
        "relu": "nn.ReLU",
        "relu6": "nn.ReLU6",
        "tanh": "nn.Tanh",
        "sigmoid": "nn.Sigmoid",
        "silu": "nn.SiLU",
        "mish": "nn.Mish",
        "hardswish": "nn.HardSwish",
        "softsign": "nn.Softsign",
        "log_sigmoid": "nn.LogSigmoid",
    }.items()
}


@recognises("gelu.default")
def _gelu(node: fx.Node, own: Own) -> Layer | None:
    tanh = node.kwargs.get("approximate", "none") == "tanh"
    return _layer(node, "nn.GELU", [node.args[0]], {"approx": "precise"} if tanh else {})
