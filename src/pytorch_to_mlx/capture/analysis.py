"""What is in a model, and what capture would make of it: nothing is written."""

from __future__ import annotations

import math
from dataclasses import dataclass

import sympy
import torch
from torch import fx

from pytorch_to_mlx.capture.clean import is_size, operator_name
from pytorch_to_mlx.capture.examples import Sizes
from pytorch_to_mlx.capture.generate import Unsupported, prepared, unsupported
from pytorch_to_mlx.capture.origin import Origins
from pytorch_to_mlx.capture.package import described_inputs
from pytorch_to_mlx.capture.sizes import evaluated, expression
from pytorch_to_mlx.capture.state import Program
from pytorch_to_mlx.capture.subject import Subject
from pytorch_to_mlx.captured import Input


@dataclass(frozen=True)
class ModuleRow:
    """A module of the tree; `parameters` counts those of the modules within too."""

    path: str
    kind: str
    parameters: int


@dataclass(frozen=True)
class Analysis:
    """What a model consists of.

    Attributes:
        operators: ATen's name -> how often it is used, once capture has tidied the graph.
        unsupported: those without a form in MLX, each with all its lines.
        inputs: dynamic sizes are names.
        parameters, weight_bytes: of all that is stored.
        activation_bytes: the most that the example's intermediate arrays take at once, if each is freed after its use.
        notes: what torch.export could not do.
    """

    modules: tuple[ModuleRow, ...]
    operators: dict[str, int]
    unsupported: tuple[Unsupported, ...]
    inputs: tuple[Input, ...]
    parameters: int
    weight_bytes: int
    activation_bytes: int
    notes: tuple[str, ...]

    @property
    def memory_bytes(self) -> int:
        """An estimate of what MLX needs for the example."""
        return self.weight_bytes + self.activation_bytes


def analyse(subject: Subject, *, dynamic: bool = True) -> Analysis:
    """Tell what capture would meet.

    Raises:
        CaptureError: torch.export cannot capture the model; names the line and the way out.
    """
    program = subject.program(dynamic=dynamic)
    sizes, inputs = Sizes(program), described_inputs(program)
    activation = _peak(program, sizes.of(subject.example.tensors))
    prepared(program)
    operators: dict[str, int] = {}
    for node in program.graph.nodes:
        name = operator_name(node) if node.op == "call_function" else ""
        if name not in ("", "operator.getitem") and not is_size(node):
            operators[name] = operators.get(name, 0) + 1
    used = [program.tensors[name] for node, name in program.states.items() if node.users]
    return Analysis(
        modules=tuple(_rows(subject.module)),
        operators=dict(sorted(operators.items())),
        unsupported=tuple(unsupported(program, Origins(program.module))),
        inputs=inputs,
        parameters=sum(value.numel() for value in used),
        weight_bytes=sum(_bytes(value.dtype, value.numel()) for value in used),
        activation_bytes=activation,
        notes=program.notes,
    )


def _rows(module: torch.nn.Module) -> list[ModuleRow]:
    return [
        ModuleRow(path, type(each).__name__, sum(parameter.numel() for parameter in each.parameters()))
        for path, each in module.named_modules()
    ]


def _peak(program: Program, sizes: dict[sympy.Symbol, int]) -> int:
    """The largest sum of the sizes of what is alive at once; views take nothing."""
    nodes = list(program.graph.nodes)
    last = {source: place for place, node in enumerate(nodes) for source in node.all_input_nodes}
    alive: dict[fx.Node, int] = {}
    total = peak = 0
    for place, node in enumerate(nodes):
        if node.op == "call_function" and not _is_view(node):
            alive[node] = _size(node, sizes)
            total += alive[node]
        peak = max(peak, total)
        for source in node.all_input_nodes:
            if last[source] == place:
                total -= alive.pop(source, 0)
    return peak


def _is_view(node: fx.Node) -> bool:
    returns = node.target._schema.returns if isinstance(node.target, torch._ops.OpOverload) else ()
    return any(each.alias_info is not None for each in returns)


def _size(node: fx.Node, sizes: dict[sympy.Symbol, int]) -> int:
    value = node.meta.get("val")
    total = 0
    for each in value if isinstance(value, tuple | list) else (value,):
        if isinstance(each, torch.Tensor):
            numbers = [evaluated(expression(size), sizes) for size in each.shape]
            known = [number for number in numbers if number is not None]
            total += _bytes(each.dtype, math.prod(known)) if len(known) == len(numbers) else 0
    return total


def _bytes(dtype: torch.dtype, count: int) -> int:
    """MLX has float32 where torch has float64."""
    return count * (4 if dtype == torch.float64 else dtype.itemsize)
