"""ONNX graphs as PyTorch modules, so that torch can export them.

Sizes and the small integers that follow from them stay Python's numbers, in numpy arrays of objects, so that dimensions
may be symbolic. Nodes named by scopes ("/encoder/0/conv/Conv") are grouped into modules, as those that export from
PyTorch are. What follows from constants alone is computed once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pytorch_to_mlx.capture import onnx_reductions, onnx_shapes  # noqa: F401  (they register their operators)
from pytorch_to_mlx.capture.names import free_name
from pytorch_to_mlx.capture.onnx_graph import Graph, Held, Node, all_nodes, read_graph
from pytorch_to_mlx.capture.onnx_layers import recurrent_module
from pytorch_to_mlx.capture.onnx_operators import OPERATORS, is_host, to_tensor
from pytorch_to_mlx.errors import CaptureError

SMALL = 64  # elements of an integer constant that may describe a shape
LARGEST = 1 << 24  # elements that a constant may be unfolded to
UNFOLDING = {"ConstantOfShape", "Expand", "Tile", "Range", "Resize", "OneHot", "Pad"}
RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}
WRAPPERS = {"StatefulPartitionedCall", "PartitionedCall"}  # of tf2onnx


def module_of_onnx(path: Path | str) -> nn.Module:
    """A module that computes an ONNX file's outputs, in order, of its inputs, in order (numbers may be given as such).

    Raises:
        CheckpointError: the file is no ONNX model.
        CaptureError: an operator is not known, here or when called.
    """
    name, graph = read_graph(path)
    unknown = sorted({node.operator for node in all_nodes(graph)} - OPERATORS.keys() - {"If"})
    if unknown:
        raise CaptureError(f"{Path(path).name}: no form of ONNX's {', '.join(unknown)}")
    root = Root(_class_name(name or "Model"))
    _Builder(root).build(graph)
    root.graph = graph
    root.input_names = list(graph.inputs)
    return root.eval()


class Scope(nn.Module):
    """Nodes that stand together under one name.

    Attributes:
        steps: nodes, and scopes within.
        takes, gives: names of the values that enter and leave.
    """

    def __init__(self, kind: str = "Scope") -> None:
        super().__init__()
        self.__class__ = type(kind, (type(self),), {"__module__": "onnx_graph"})  # type: ignore[assignment]
        self.steps: list[Node | Held] = []
        self.takes: list[str] = []
        self.gives: list[str] = []

    def forward(self, *values: Any) -> Any:
        """What leaves."""
        known = dict(zip(self.takes, values, strict=True))
        run_steps(self.steps, known)
        results = tuple(known[name] for name in self.gives)
        return results[0] if len(results) == 1 else results


class Root(Scope):
    """The model."""

    graph: Graph
    input_names: list[str]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The graph's outputs in order; a single one by itself."""
        given = dict(zip(self.input_names, args, strict=False)) | kwargs
        if missing := [name for name in self.input_names if name not in given]:
            raise CaptureError(f"the ONNX graph needs {', '.join(missing)} too")
        known = {
            name: value if isinstance(value, torch.Tensor) else np.array(value, dtype=object)
            for name, value in given.items()
        }
        results = [to_tensor(each) for each in run_graph(self.graph, known)]
        return results[0] if len(results) == 1 else tuple(results)


def run_graph(graph: Graph, known: dict[str, Any]) -> list[Any]:
    """The outputs of a graph, given its inputs and what it takes from outside by name."""
    run_steps(graph.steps, known)
    return [_constant(graph.constants[name]) if name in graph.constants else known[name] for name in graph.outputs]


def _constant(value: Any) -> Any:
    return value.value() if isinstance(value, Held) else value


def run_steps(steps: Sequence[Any], known: dict[str, Any]) -> None:
    """Carry out nodes and scopes; their results join `known`."""
    for step in steps:
        if isinstance(step, Held):  # a scope
            scope: Any = step.value()
            results = scope(*(known[name] for name in scope.takes))
            known.update(zip(scope.gives, [results] if len(scope.gives) == 1 else results, strict=True))
        else:
            known.update(zip(step.outputs, results_of(step, known), strict=False))


def results_of(node: Node, known: Mapping[str, Any]) -> Sequence[Any]:
    """What one node computes.

    Raises:
        CaptureError: it cannot be computed.
    """
    inputs = [
        _constant(node.constants[place]) if place in node.constants else known[name] if name else None
        for place, name in enumerate(node.inputs)
    ]
    if node.operator == "If":
        return _branch(node, inputs[0], known)
    try:
        results = node.layer(*inputs) if node.layer is not None else OPERATORS[node.operator](node, *inputs)
    except CaptureError as error:
        raise CaptureError(f"{node}: {error}") from None
    except Exception as error:
        if not getattr(error, "__notes__", None):
            error.add_note(f"in ONNX's {node}")
        raise
    return results if isinstance(results, tuple | list) else [results]


def _branch(node: Node, condition: Any, known: Mapping[str, Any]) -> Sequence[Any]:
    """One branch, where the condition is known; both, where it is a tensor: graphs have no effects."""
    yes, no = node.attributes["then_branch"], node.attributes["else_branch"]
    if is_host(condition):
        return run_graph(yes if condition.item() else no, dict(known))
    pairs = zip(*(map(to_tensor, run_graph(each, dict(known))) for each in (yes, no)), strict=True)
    results = []
    for a, b in pairs:
        if a.shape != b.shape or a.dtype != b.dtype:
            raise CaptureError(f"{node}: its condition depends on data, and its branches differ in shape")
        results.append(torch.where(condition.reshape(()), a, b))
    return results


class _Builder:
    """Computes what is constant, holds tensors under names, and groups nodes by scopes."""

    def __init__(self, root: nn.Module) -> None:
        self.root = root
        self.placed: dict[int, Held] = {}
        self._alive: list[torch.Tensor] = []  # so that ids stay taken

    def build(self, graph: Graph, outer: Mapping[str, Any] | None = None, inside: str = "") -> None:
        known: dict[str, Any] = dict(outer or {})
        sources: dict[str, str] = {}
        for name, array in graph.initializers.items():
            known[name] = as_constant(array)
        kept = []
        for node in graph.nodes:
            results = self._folded(node, known)
            if results is None:
                kept.append(node)
                continue
            for name, value in zip(node.outputs, results, strict=False):
                known[name] = value
                sources[name] = node.name
        for node in kept:
            scope = ".".join(_scope(node.name))
            for inner in node.graphs():
                self.build(inner, known, scope)
            node.layer = recurrent_module(node, [known.get(name) if name else None for name in node.inputs])
            if node.layer is not None:
                node.layer = self._hold_layer(node, scope)
            for place, name in enumerate(node.inputs):
                if name in known:
                    taken = node.layer is not None and place in (1, 2, 3)  # its weights
                    node.constants[place] = None if taken else self._held(name, known[name], scope)
        for name in graph.outputs:
            if name in known:
                graph.constants[name] = self._held(name, known[name], inside)
        graph.nodes = kept
        graph.steps = self._grouped(kept, graph.outputs, 0, [])

    def _folded(self, node: Node, known: Mapping[str, Any]) -> Sequence[Any] | None:
        """The values of a node that follows from constants."""
        if node.operator == "If":
            return None
        if node.operator in RANDOM or any(name and name not in known for name in node.inputs):
            return None
        given = [known[name] if name else None for name in node.inputs]
        if node.operator in UNFOLDING and not _bounded(node, given):
            return None
        if recurrent_module(node, given) is not None:
            return None
        results = results_of(node, known)
        return [value if is_host(value) else _settled(value) for value in results]

    def _held(self, name: str, value: Any, scope: str) -> Any:
        if is_host(value):
            return value
        if id(value) not in self.placed:
            parts = _parts(name)
            if scope and len(parts) == 1:
                parts = [*scope.split("."), *parts]
            owner, last = self._owner(parts)
            if value.dtype.is_floating_point:
                owner.register_parameter(last, nn.Parameter(value, requires_grad=False))
            else:
                owner.register_buffer(last, value)
            self.placed[id(value)] = Held(owner, last)
            self._alive.append(value)
        return self.placed[id(value)]

    def _hold_layer(self, node: Node, scope: str) -> nn.Module:
        parts = scope.split(".") if scope else []
        owner, last = self._owner([*parts, node.operator.lower()])
        assert node.layer is not None
        owner.add_module(last, node.layer)
        return node.layer

    def _owner(self, parts: Sequence[str]) -> tuple[nn.Module, str]:
        """The module that holds a name, and the name there, that nothing else has."""
        owner = self.root
        for part in parts[:-1]:
            owner = _child(owner, part)
        taken = {*owner._modules, *owner._parameters, *owner._buffers, *dir(nn.Module), *vars(owner)}
        last = parts[-1]
        return owner, free_name(last, taken)

    def _grouped(self, nodes: Sequence[Node], wanted: Sequence[str], depth: int, path: list[str]) -> list[Any]:
        """Nodes in order, those of one scope in a module."""
        steps: list[Any] = []
        groups = [(key, list(each)) for key, each in groupby(nodes, lambda node: _scope(node.name)[depth : depth + 1])]
        for place, (key, members) in enumerate(groups):
            if not key:
                steps += members
                continue
            after = {name for _, others in groups[place + 1 :] for node in others for name in node.reads()}
            made = {name for node in members for name in node.outputs}
            reads = dict.fromkeys(name for node in members for name in node.reads() if name not in made)
            held = self._scope_module([*path, *key])
            scope: Any = held.value()
            scope.takes = list(reads)
            scope.gives = [name for node in members for name in node.outputs if name in after or name in wanted]
            scope.steps = self._grouped(members, scope.gives, depth + 1, [*path, *key])
            steps.append(held)
        return steps

    def _scope_module(self, parts: Sequence[str]) -> Held:
        owner = self.root
        for part in parts[:-1]:
            owner = _child(owner, part)
        last = parts[-1]
        found = owner._modules.get(last)
        if isinstance(found, Scope) and not found.gives:
            return Held(owner, last)
        name = free_name(last, {*owner._modules, *owner._parameters, *owner._buffers, *vars(owner)})
        scope = Scope(_class_name("_".join(parts[-2:]) if last.isdigit() else last))
        owner.add_module(name, scope)
        return Held(owner, name)


def _child(owner: nn.Module, name: str) -> nn.Module:
    found = owner._modules.get(name)
    if found is None:
        taken = name in owner._parameters or name in owner._buffers or hasattr(owner, name)
        name = f"{name}_scope" if taken else name
        found = owner._modules.get(name)
    if found is None:
        found = Scope(_class_name(name))
        owner.add_module(name, found)
    return found


def as_constant(array: np.ndarray) -> Any:
    """A constant: numbers that may be sizes as objects, all else as a tensor."""
    small = array.dtype.kind in "iub" and array.size <= SMALL and array.ndim <= 1
    if small or array.ndim == 0:
        return np.array(array.tolist(), dtype=object) if array.ndim else _scalar(array)
    if array.dtype.kind not in "fiubc":
        raise CaptureError(f"constants of type {array.dtype} are not known")
    return torch.from_numpy(np.array(array))


def _scalar(array: np.ndarray) -> np.ndarray:
    made = np.empty((), dtype=object)
    made[()] = array.item()
    return made


def _settled(value: torch.Tensor) -> Any:
    small = not value.dtype.is_floating_point and value.numel() <= SMALL and value.ndim <= 1
    return as_constant(value.numpy()) if small or value.ndim == 0 else value.contiguous()


def _bounded(node: Node, given: Sequence[Any]) -> bool:
    """Whether the result is of a size that memory can hold: what a file says of it is not to be trusted."""
    if node.operator == "Range":
        start, end, step = (float(each.item()) for each in given)
        return step != 0 and abs((end - start) / step) <= LARGEST
    shape = given[1] if len(given) > 1 else given[0]
    if not is_host(shape) or node.operator in ("Resize", "OneHot", "Pad"):
        return False
    size = 1.0
    for each in shape.reshape(-1).tolist():
        size *= max(1, float(each))
    return size * (1 if is_host(given[0]) else given[0].numel()) <= LARGEST


def _scope(name: str) -> list[str]:
    """The modules that a node's name tells: ["encoder", "0", "conv"] of "/encoder/encoder.0/conv/Conv"."""
    parts: list[str] = []
    before = ""
    for part in name.split("/")[:-1]:
        if not part or part in WRAPPERS:
            continue
        inner = part.removeprefix(f"{before}.") if before else part
        parts += [_plain(each) for each in inner.split(".") if each]
        before = part
    return ["layers", *parts] if parts and parts[0].isdigit() else parts


def _parts(name: str) -> list[str]:
    parts = [_plain(part) for part in re.split(r"[./]", name) if part and part not in WRAPPERS]
    if parts and parts[0].isdigit():  # of a sequence that was the model
        parts.insert(0, "layers")
    return parts or ["constant"]


def _plain(part: str) -> str:
    return re.sub(r"\W+", "_", part).strip("_") or "x"


def _class_name(name: str) -> str:
    plain = "".join(word[:1].upper() + word[1:] for word in re.split(r"\W|_", name) if word)
    return plain if plain[:1].isalpha() else f"Graph{plain}"
