"""The captured program: a graph of ATen's operators, its tensors by name, and how inputs and outputs are structured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from pytorch_to_mlx.capture.decompose import table
from pytorch_to_mlx.capture.recurrent_shapes import any_number_of_steps

if TYPE_CHECKING:
    from pytorch_to_mlx.capture.observe import ModuleCall


@dataclass
class Program:
    """What a front end makes of any model, and the generator reads.

    Attributes:
        graph: functional ATen; placeholders are states and inputs.
        states: placeholder -> the name of its tensor.
        tensors: name -> value of every state.
        inputs: placeholders of the tensors that the caller gives, in order, with what each is called.
        results: what the model returns, nodes and constants in the structure that it has.
        mutated: name of a state, or an input -> the node of its value after the call.
        module: the module that was captured, where there is one.
        layouts: name of a state -> the order in which its axes are stored, where it is not torch's.
        folded: name of a state that was computed -> the tensors that it was computed from.
        given: the example's tensors, in the order of `inputs`.
        observed: the calls of modules in eager mode, in order of their ends.
        owner: keeps the graph's own attributes alive.
        notes: what a user should know of the capture.
    """

    graph: fx.Graph
    states: dict[fx.Node, str]
    tensors: dict[str, torch.Tensor]
    inputs: dict[fx.Node, str]
    results: Any
    mutated: dict[str | fx.Node, fx.Node]
    module: torch.nn.Module | None = None
    layouts: dict[str, tuple[int, ...]] = field(default_factory=dict)
    folded: dict[str, tuple[str, ...]] = field(default_factory=dict)
    given: list[torch.Tensor] = field(default_factory=list)
    observed: list[ModuleCall] = field(default_factory=list)
    owner: fx.GraphModule | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Let the graph's output list what leaves, so that passes which replace a node replace it there too."""
        (end,) = [node for node in self.graph.nodes if node.op == "output"]
        end.args = ([*result_leaves(self.results), *self.mutated.values()],)

    def settle(self) -> None:
        """Read what leaves from the graph again, after passes."""
        (end,) = [node for node in self.graph.nodes if node.op == "output"]
        leaves = iter(end.args[0])  # type: ignore[arg-type]
        self.results = _with_leaves(self.results, leaves)
        self.mutated = {target: next(leaves) for target in self.mutated}  # type: ignore[misc]


def program_of(exported: torch.export.ExportedProgram, module: torch.nn.Module | None = None) -> Program:
    """The program of an exported one; its graph is a copy."""
    with any_number_of_steps():
        exported = exported.run_decompositions(table())
    owner = exported.graph_module
    graph = owner.graph
    signature = exported.graph_signature
    placeholders = {node.name: node for node in graph.nodes if node.op == "placeholder"}
    states: dict[fx.Node, str] = {}
    tensors: dict[str, torch.Tensor] = {}
    inputs: dict[fx.Node, str] = {}
    kinds = torch.export.graph_signature.InputKind
    for spec in signature.input_specs:
        node = placeholders[spec.arg.name]
        if spec.kind in (kinds.PARAMETER, kinds.BUFFER, kinds.CONSTANT_TENSOR):
            assert spec.target is not None
            states[node] = _home(spec.target, module)
            found: Any = exported.state_dict.get(spec.target)
            value: Any = exported.constants[spec.target] if found is None else found
            tensors[states[node]] = value.detach()
        elif spec.kind == kinds.USER_INPUT and isinstance(spec.arg, torch.export.graph_signature.TensorArgument):
            inputs[node] = node.name  # others are constants of the graph
    (end,) = [node for node in graph.nodes if node.op == "output"]
    mutated: dict[str | fx.Node, fx.Node] = {}
    flat: list[Any] = []
    outs = torch.export.graph_signature.OutputKind
    values: Any = end.args[0]
    for spec, value in zip(signature.output_specs, values, strict=True):
        if spec.target is not None and spec.kind in (outs.BUFFER_MUTATION, outs.PARAMETER_MUTATION):
            mutated[spec.target] = value
        elif spec.target is not None and spec.kind == outs.USER_INPUT_MUTATION:
            mutated[placeholders[spec.target]] = value
        elif spec.kind == outs.USER_OUTPUT:
            flat.append(value)
    structure: Any = exported.call_spec.out_spec
    results = pytree.tree_unflatten(flat, structure)
    return Program(graph, states, tensors, inputs, plain(results), mutated, module, owner=owner)


def _home(name: str, module: torch.nn.Module | None) -> str:
    """Of the names of a tensor that several modules share, that of an embedding, where it is first used."""
    if module is None:
        return name
    owner, _, leaf = name.rpartition(".")
    tensor = getattr(module.get_submodule(owner), leaf, None)
    for path, each in module.named_modules():
        if isinstance(each, torch.nn.Embedding) and each.weight is tensor:
            return f"{path}.weight"
    return name


def plain(results: Any) -> Any:
    """The structure of what a model returns, of tuples, lists and dicts alone; dataclasses become dicts."""
    if isinstance(results, dict):
        return {str(key): plain(value) for key, value in results.items()}
    if isinstance(results, tuple | list):
        return type(results)(map(plain, results)) if type(results) in (tuple, list) else tuple(map(plain, results))
    if hasattr(results, "__dataclass_fields__"):
        fields = {name: getattr(results, name) for name in results.__dataclass_fields__}
        return {name: plain(value) for name, value in fields.items() if value is not None}
    return results


def result_leaves(results: Any) -> list[Any]:
    """The values within a structure of `plain`, in order."""
    if isinstance(results, dict):
        return [leaf for value in results.values() for leaf in result_leaves(value)]
    if isinstance(results, tuple | list):
        return [leaf for value in results for leaf in result_leaves(value)]
    return [results]


def _with_leaves(results: Any, leaves: Iterator[Any]) -> Any:
    if isinstance(results, dict):
        return {key: _with_leaves(value, leaves) for key, value in results.items()}
    if isinstance(results, tuple | list):
        return type(results)(_with_leaves(value, leaves) for value in results)
    return next(leaves)
