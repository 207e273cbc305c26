"""Calls that are one of `mlx.nn`'s layers, or of `pytorch_to_mlx.runtime`'s where that has none that fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import fx

from pytorch_to_mlx.capture.clean import operator_name
from pytorch_to_mlx.capture.code import Code, Slots, call
from pytorch_to_mlx.capture.operators.convolution import same_padding, single, spread
from pytorch_to_mlx.capture.sizes import example_product
from pytorch_to_mlx.capture.state import Program
from pytorch_to_mlx.capture.tree import Call

LARGE = 16384  # elements of a group


@dataclass(frozen=True)
class Layer:
    """A call that becomes a layer.

    Attributes:
        constructor: writes the expression that makes it.
        inputs: what it is called with.
        outputs: those of its results that are used.
        unpack: of a layer with several results, every one, None where it is not used.
    """

    constructor: Callable[[Slots], Code]
    inputs: tuple[fx.Node, ...]
    outputs: tuple[fx.Node, ...]
    unpack: tuple[fx.Node | None, ...] = ()


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

    def alike(self, node: fx.Node) -> Iterator[fx.Node]:
        """All nodes of that operator in the whole model, whose layers ought to be of one class."""
        return (each for each in self._program.graph.nodes if each.target == node.target)


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
    main = next(
        (node for node in nodes if operator_name(node) not in ("aten.zeros.default", "operator.getitem")), nodes[0]
    )
    for node in nodes:  # besides it, what it starts from, and its parts
        made = operator_name(node) == "aten.zeros.default" and list(node.users) == [main]
        if node is not main and not made and not (operator_name(node) == "operator.getitem" and node.args[0] is main):
            return None
    recognise = RECOGNISERS.get(operator_name(main))
    layer = recognise(main, Own(program, callee)) if recognise else None
    return layer if layer is None or set(layer.inputs).isdisjoint(nodes) else None


def arguments_of(node: fx.Node) -> list:
    """All arguments of an operator in the order of its schema, with defaults."""
    schema = node.target._schema.arguments  # type: ignore[union-attr]
    return [
        node.args[place] if place < len(node.args) else node.kwargs.get(each.name, each.default_value)
        for place, each in enumerate(schema)
    ]


def made_of(
    node: fx.Node,
    name: str,
    inputs: list,
    numbers: Mapping[str, object],
    layouts: dict[str, tuple[int, ...]] | None = None,
) -> Layer | None:
    """The layer `name(numbers)`, called with `inputs`; a number whose name begins with _ is given by position."""
    if not all(isinstance(each, fx.Node) for each in inputs):
        return None

    def constructor(slots: Slots) -> Code:
        given = {
            key: value if isinstance(value, bool | str) or value is None else slots.add(value, key.lstrip("_"))
            for key, value in numbers.items()
        }
        positional = [value for key, value in given.items() if key.startswith("_")]
        return call(name, *positional, **{key: value for key, value in given.items() if not key.startswith("_")})

    return Layer(constructor, tuple(inputs), (node,))


@recognises("linear.default")
def _linear(node: fx.Node, own: Own) -> Layer | None:
    x, weight, bias = arguments_of(node)
    matrix = own.named(weight, "weight")
    if matrix is None or matrix.ndim != 2 or (bias is not None and own.named(bias, "bias") is None):
        return None
    outputs, inputs = matrix.shape
    sizes = {"_input_dims": inputs, "_output_dims": outputs}
    return made_of(node, "nn.Linear", [x], sizes | ({"bias": False} if bias is None else {}))


@recognises("embedding.default")
def _embedding(node: fx.Node, own: Own) -> Layer | None:
    weight, indices = arguments_of(node)[:2]
    matrix = own.named(weight, "weight")
    if matrix is None:
        return None
    return made_of(node, "nn.Embedding", [indices], {"_num_embeddings": matrix.shape[0], "_dims": matrix.shape[1]})


@recognises("layer_norm.default")
def _layer_norm(node: fx.Node, own: Own) -> Layer | None:
    x, shape, weight, bias, eps, _ = arguments_of(node)
    if len(shape) != 1:
        return None
    if weight is None and bias is None:
        return made_of(node, "nn.LayerNorm", [x], {"_dims": shape[0], "eps": eps, "affine": False})
    if own.named(weight, "weight") is None or (bias is not None and own.named(bias, "bias") is None):
        return None
    return made_of(
        node, "nn.LayerNorm", [x], {"_dims": shape[0], "eps": eps} | ({"bias": False} if bias is None else {})
    )


@recognises("rms_norm.default")
def _rms_norm(node: fx.Node, own: Own) -> Layer | None:
    x, shape, weight, eps = arguments_of(node)
    if len(shape) != 1 or eps is None or own.named(weight, "weight") is None:
        return None
    return made_of(node, "nn.RMSNorm", [x], {"_dims": shape[0], "eps": eps})


def _activation(name: str, **numbers: object) -> Recogniser:
    return lambda node, own: made_of(node, name, [node.args[0]], numbers)


RECOGNISERS |= {
    f"aten.{operator}.default": _activation(name)
    for operator, name in {
        "relu": "nn.ReLU",
        "relu6": "nn.ReLU6",
        "tanh": "nn.Tanh",
        "sigmoid": "nn.Sigmoid",
        "silu": "nn.SiLU",
        "mish": "nn.Mish",
        "hardswish": "nn.Hardswish",
        "softsign": "nn.Softsign",
        "log_sigmoid": "nn.LogSigmoid",
    }.items()
}


@recognises("gelu.default")
def _gelu(node: fx.Node, own: Own) -> Layer | None:
    tanh = node.kwargs.get("approximate", "none") == "tanh"
    return made_of(node, "nn.GELU", [node.args[0]], {"approx": "precise"} if tanh else {})


def _owned(own: Own, **tensors: object) -> bool:
    """Whether every given tensor that is there is the module's own of that name."""
    return all(node is None or own.named(node, name) is not None for name, node in tensors.items())


def different(**numbers: tuple[object, object]) -> dict[str, object]:
    """Numbers that are not what the layer has anyway."""
    return {name: value for name, (value, default) in numbers.items() if value != default}


def _convolution(node: fx.Node, own: Own) -> Layer | None:
    x, weight, bias, stride, padding, dilation, groups = arguments_of(node)
    if own.named(weight, "weight") is None or not _owned(own, bias=bias):
        return None
    outputs, *kernel, inputs = weight.meta["val"].shape
    rank = len(kernel)
    if isinstance(padding, str):
        widths = same_padding(kernel, spread(dilation, rank)) if padding == "same" else [(0, 0)] * rank
        if any(before != after for before, after in widths):
            return None
        padding = [before for before, _ in widths]
    name = {1: "runtime.Conv1d", 2: "nn.Conv2d", 3: "nn.Conv3d"}[rank]
    numbers = {"_in_channels": inputs * groups, "_out_channels": outputs, "_kernel_size": single(kernel)}
    numbers |= different(
        stride=(single(stride), 1),
        padding=(single(padding), 0),
        dilation=(single(dilation), 1),
        groups=(groups, 1),
        bias=(bias is not None, True),
    )
    if rank == 3 and (groups != 1 or single(dilation) != 1):
        return None
    return made_of(node, name, [x], numbers)


for _rank in (1, 2, 3):
    recognises(f"conv{_rank}d.default", f"conv{_rank}d.padding")(_convolution)


@recognises("conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input")
def _transposed(node: fx.Node, own: Own) -> Layer | None:
    x, weight, bias, stride, padding, output_padding, groups, dilation = arguments_of(node)
    if own.named(weight, "weight") is None or not _owned(own, bias=bias) or groups != 1:
        return None
    outputs, *kernel, inputs = weight.meta["val"].shape
    if len(kernel) == 3 and any(output_padding):
        return None  # which MLX's leaves out, and runtime's function does not
    name = {1: "runtime.ConvTranspose1d", 2: "nn.ConvTranspose2d", 3: "nn.ConvTranspose3d"}[len(kernel)]
    numbers = {"_in_channels": inputs, "_out_channels": outputs, "_kernel_size": single(kernel)}
    numbers |= different(
        stride=(single(stride), 1),
        padding=(single(padding), 0),
        dilation=(single(dilation), 1),
        output_padding=(single(output_padding), 0),
        bias=(bias is not None, True),
    )
    return made_of(node, name, [x], numbers)


@recognises("batch_norm.default")
def _batch_norm(node: fx.Node, own: Own) -> Layer | None:
    x, weight, bias, mean, variance, training, _, eps, _ = arguments_of(node)
    plain = weight is None and bias is None
    if training or mean is None or not _owned(own, weight=weight, bias=bias, running_mean=mean, running_var=variance):
        return None
    if not plain and (weight is None or bias is None):
        return None
    numbers = {"_num_features": mean.meta["val"].shape[0]}
    return made_of(node, "runtime.BatchNorm", [x], numbers | different(eps=(eps, 1e-5), affine=(not plain, True)))


@recognises("group_norm.default")
def _group_norm(node: fx.Node, own: Own) -> Layer | None:
    x, groups, weight, bias, eps, _ = arguments_of(node)
    if not _owned(own, weight=weight, bias=bias) or (weight is None) != (bias is None):
        return None
    numbers = {"_num_groups": groups, "_dims": x.meta["val"].shape[-1]}
    numbers |= different(eps=(eps, 1e-5), affine=(weight is not None, True))
    if any(map(_is_large, own.alike(node))):
        return made_of(node, "runtime.GroupNorm", [x], numbers)
    return made_of(node, "nn.GroupNorm", [x], numbers | {"pytorch_compatible": True})


def _is_large(node: fx.Node) -> bool:
    """Whether a group of the example has so many elements that MLX's own norm loses digits on the Linux CPU."""
    x, groups, *_ = arguments_of(node)
    _, *rest = x.meta["val"].shape
    return example_product(rest) > LARGE * groups


@recognises("instance_norm.default")
def _instance_norm(node: fx.Node, own: Own) -> Layer | None:
    x, weight, bias, _, _, own_statistics, _, eps, _ = arguments_of(node)
    if not own_statistics or not _owned(own, weight=weight, bias=bias) or (weight is None) != (bias is None):
        return None
    numbers = {"_dims": x.meta["val"].shape[-1]}
    return made_of(
        node, "nn.InstanceNorm", [x], numbers | different(eps=(eps, 1e-5), affine=(weight is not None, False))
    )
