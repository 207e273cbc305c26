"""ONNX files as nodes and graphs of our own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pytorch_to_mlx.errors import CaptureError, CheckpointError, MissingDependencyError


@dataclass
class Node:
    """A node of a graph.

    Attributes:
        attributes: by name; graphs are `Graph`s.
        version: of the operator set.
        constants: what an input in place is, where that is known: a value, or where its tensor is held.
        layer: a module that does the node.
    """

    operator: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    version: int
    constants: dict[int, Any] = field(default_factory=dict)
    layer: nn.Module | None = None

    def graphs(self) -> list[Graph]:
        """Those of branches."""
        return [value for value in self.attributes.values() if isinstance(value, Graph)]

    def reads(self) -> Iterable[str]:
        """The values that it needs, and its branches."""
        yield from (name for place, name in enumerate(self.inputs) if name and place not in self.constants)
        for graph in self.graphs():
            inside = {*graph.inputs, *(name for node in graph.nodes for name in node.outputs)}
            yield from (name for node in graph.nodes for name in node.reads() if name not in inside)
            yield from (name for name in graph.outputs if name not in inside and name not in graph.constants)

    def __str__(self) -> str:
        return f"{self.operator} node {self.name or self.outputs[0]!r}"


@dataclass
class Graph:
    """A graph: the model's, or a branch's; its steps are nodes, and modules that do several."""

    nodes: list[Node]
    inputs: list[str]
    outputs: list[str]
    initializers: dict[str, np.ndarray]
    constants: dict[str, Any] = field(default_factory=dict)
    steps: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Held:
    """A tensor's place."""

    owner: nn.Module
    name: str

    def value(self) -> torch.Tensor:
        return getattr(self.owner, self.name)


def read_graph(path: Path | str) -> tuple[str, Graph]:
    """The name and the graph of an ONNX file.

    Raises:
        CheckpointError: the file is no ONNX model.
        CaptureError: a node is of another domain.
    """
    try:
        import onnx
    except ImportError:
        raise MissingDependencyError("an ONNX graph needs onnx: pip install 'pytorch-to-mlx[capture]'") from None
    try:
        model = onnx.load(str(path))
    except Exception as error:  # protobuf's, or of the operating system
        raise CheckpointError(f"{path} is no ONNX model that can be read: {error}") from error
    versions = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    return model.graph.name, _graph(model.graph, versions.get("ai.onnx", 1))


def all_nodes(graph: Graph) -> Iterable[Node]:
    """Its nodes and those of its branches."""
    for node in graph.nodes:
        yield node
        for inner in node.graphs():
            yield from all_nodes(inner)


def _graph(proto: Any, version: int) -> Graph:
    from onnx import numpy_helper

    initializers = {each.name: numpy_helper.to_array(each) for each in proto.initializer}
    inputs = [each.name for each in proto.input if each.name not in initializers]
    nodes = []
    for each in proto.node:
        if each.domain not in ("", "ai.onnx"):
            raise CaptureError(f"{each.op_type} of {each.domain} (node {each.name!r}): only ONNX's own operators")
        attributes = {attribute.name: _attribute(attribute, version) for attribute in each.attribute}
        nodes.append(Node(each.op_type, each.name, list(each.input), list(each.output), attributes, version))
    return Graph(nodes, inputs, [each.name for each in proto.output], initializers)


def _attribute(proto: Any, version: int) -> Any:
    from onnx import AttributeProto, helper, numpy_helper

    if proto.type == AttributeProto.GRAPH:
        return _graph(proto.g, version)
    value = helper.get_attribute_value(proto)
    if proto.type == AttributeProto.TENSOR:
        return numpy_helper.to_array(value)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list | tuple) or proto.type in (AttributeProto.INTS, AttributeProto.FLOATS):
        return [each.decode() if isinstance(each, bytes) else each for each in value]
    return value
