"""S3 speech tokenizers in the form in which they were published: ONNX models, of upstream's state dicts.

Initialisers and the nodes that use them only, which is what weights are read from: nothing here could run. torch's
exporter names a node by the modules around it, and an initialiser by its parameter where it left that as it was; what
it made of one (a matrix transposed, a weight cast) is `onnx::`, the operation and a number. The numbers below are those
by which s3tokenizer.utils.onnx2torch knows the published files.

numpy and onnx only: tests load it by path, as they do `_seed.py`.
"""

from collections.abc import Mapping

import numpy as np
import onnx

CONVOLUTIONS = {  # weight and bias of the first, then of the second
    "v1-50hz": [f"onnx::Conv_{number}" for number in (1519, 1520, 1521, 1522)],
    "v1-25hz": [f"encoders.conv{n}.{leaf}" for n in (1, 2) for leaf in ("weight", "bias")],
    "v2-25hz": [f"onnx::Conv_{number}" for number in (2216, 2217, 2218, 2219)],
}
PROJECTION = "onnx::MatMul_2536"
CODEBOOK = "/quantizer/rq/model/layers.0/_codebook"
LINEARS = {f"attn.{name}": f"attn/{name}" for name in ("query", "key", "value", "out")}
LINEARS |= {"mlp.0": "mlp/mlp.0", "mlp.2": "mlp/mlp.2"}


class Graph:
    """What a model is made of.

    Attributes:
        named: whether parameters that were left as they were have their own names.
    """

    def __init__(self, *, named: bool) -> None:
        self.named = named
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[onnx.TensorProto] = []

    def node(self, path: str, *inputs: str) -> None:
        """A node whose operation is the last part of its path."""
        operation = path.rpartition("/")[2].partition("_")[0]
        self.nodes.append(onnx.helper.make_node(operation, list(inputs), [f"{path}_output_0"], path))

    def initialiser(self, name: str, array: np.ndarray, operation: str = "") -> str:
        """Adds one and returns its name: the given one, unless an operation has it and parameters are not named."""
        if operation and not self.named:
            name = f"onnx::{operation}_{3000 + len(self.initialisers)}"
        self.initialisers.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name


def model(tensors: Mapping[str, np.ndarray], variant: str) -> onnx.ModelProto:
    """An ONNX model of upstream's tensors."""
    graph = Graph(named=variant == "v1-25hz")
    given = iter(CONVOLUTIONS[variant])
    for n in (1, 2):
        names = [graph.initialiser(next(given), tensors[f"encoder.conv{n}.{leaf}"]) for leaf in ("weight", "bias")]
        graph.node(f"/conv{n}/Conv", "x", *names)
    if "encoder.positional_embedding" in tensors:
        table = tensors["encoder.positional_embedding"]
        graph.node("/Slice", graph.initialiser("encoders.positional_embedding", table), "0", "n", "0", "1")
    for i in range(sum(name.endswith("attn.key.weight") for name in tensors)):
        _block(graph, i, {n.removeprefix(f"encoder.blocks.{i}."): a for n, a in tensors.items()}, variant)
    _quantizer(graph, tensors)
    return onnx.helper.make_model(onnx.helper.make_graph(graph.nodes, "main_graph", [], [], graph.initialisers))


def _block(graph: Graph, i: int, tensors: Mapping[str, np.ndarray], variant: str) -> None:
    def initialiser(name: str, operation: str) -> str:
        return graph.initialiser(f"encoders.blocks.{i}.{name}", tensors[name], operation)

    scope = f"/blocks.{i}"
    for layer in ("attn_ln", "mlp_ln"):
        if variant.startswith("v2"):
            names = [initialiser(f"{layer}.{leaf}", "LayerNormalization") for leaf in ("weight", "bias")]
            graph.node(f"{scope}/{layer}/LayerNormalization", "x", *names)
        else:
            graph.node(f"{scope}/{layer}/Mul", "x", initialiser(f"{layer}.weight", "Mul"))
            graph.node(f"{scope}/{layer}/Add_1", "x", initialiser(f"{layer}.bias", "Add"))
    for name, path in LINEARS.items():
        matrix = graph.initialiser(f"onnx::MatMul_{3000 + len(graph.initialisers)}", tensors[f"{name}.weight"].T)
        graph.node(f"{scope}/{path}/MatMul", "x", matrix)
        if f"{name}.bias" in tensors:
            graph.node(f"{scope}/{path}/Add", initialiser(f"{name}.bias", "Add"), "x")
    if "attn.fsmn_block.weight" in tensors:
        memory = graph.initialiser(f"blocks.{i}.attn.fsmn_block.weight", tensors["attn.fsmn_block.weight"])
        graph.node(f"{scope}/attn/fsmn_block/Conv", "x", memory)


def _quantizer(graph: Graph, tensors: Mapping[str, np.ndarray]) -> None:
    if (vectors := tensors.get("quantizer._codebook.embed")) is not None:
        name = graph.initialiser("onnx::MatMul_2999", vectors.T)
        graph.node(f"{CODEBOOK}/MatMul", "x", name)
        graph.node(f"{CODEBOOK}/Pow_1", name, "two")
    else:
        weight, bias = (tensors[f"quantizer._codebook.project_down.{leaf}"] for leaf in ("weight", "bias"))
        graph.node("/quantizer/project_in/MatMul", "x", graph.initialiser(PROJECTION, weight.T))
        graph.node("/quantizer/project_in/Add", graph.initialiser("quantizer.project_in.bias", bias), "x")
