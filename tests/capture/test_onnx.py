"""ONNX graphs as modules: equal to ONNX's own reference evaluator, and exportable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from pytorch_to_mlx.capture.onnx_module import module_of_onnx
from pytorch_to_mlx.errors import CaptureError, CheckpointError

RNG = np.random.default_rng(0)


def saved(folder: Path, nodes: list, inputs: dict, outputs: list, constants: dict, opset: int = 17) -> Path:
    """A model's file."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "net", values, ends, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.save(model, str(folder / "model.onnx"))
    return folder / "model.onnx"


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def check(path: Path, *inputs: np.ndarray) -> Any:
    module = module_of_onnx(path)
    names = [each.name for each in onnx.load(str(path)).graph.input]
    want: Any = ReferenceEvaluator(str(path)).run(None, dict(zip(names, inputs, strict=True)))
    got = module(*map(torch.from_numpy, inputs))
    for mine, theirs in zip(got if isinstance(got, tuple) else (got,), want, strict=True):
        assert tuple(mine.shape) == theirs.shape
        np.testing.assert_allclose(mine.numpy(), theirs, atol=2e-6, rtol=2e-6)
    return module


def test_scopes_become_modules_and_shapes_stay_symbolic(tmp_path: Path) -> None:
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "encoder.0.conv.weight", "encoder.0.conv.bias"], ["a"], name="/encoder/encoder.0/conv/Conv",
             pads=[1, 1]),
        node("Relu", ["a"], ["b"], name="/encoder/encoder.0/act/Relu"),
        node("Shape", ["b"], ["s"], name="/Shape"),
        node("Gather", ["s", "two"], ["t"], name="/Gather"),
        node("Unsqueeze", ["t", "axis"], ["u"], name="/Unsqueeze"),
        node("Concat", ["minus", "u"], ["shape"], name="/Concat", axis=0),
        node("Reshape", ["b", "shape"], ["y"], name="/Reshape"),
    ]  # fmt: skip
    constants = {"encoder.0.conv.weight": floats(6, 4, 3), "encoder.0.conv.bias": floats(6), "two": np.array(2),
                 "axis": np.array([0]), "minus": np.array([-1])}  # fmt: skip
    path = saved(tmp_path, nodes, {"x": ["batch", 4, "length"]}, ["y"], constants)
    module = check(path, floats(2, 4, 9))
    assert sorted(module.state_dict()) == ["encoder.0.conv.bias", "encoder.0.conv.weight"]
    auto = torch.export.Dim.AUTO
    exported = torch.export.export(module, (torch.ones(2, 4, 9),), dynamic_shapes=(((auto, auto, auto),),))
    x = torch.randn(3, 4, 15)
    torch.testing.assert_close(exported.module()(x), module(x))
    paths = {path for n in exported.graph.nodes for path, _ in (n.meta.get("nn_module_stack") or {}).values()}
    assert "encoder.0.conv" in paths


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_recurrent_layers(tmp_path: Path, kind: str) -> None:
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    more: dict[str, Any] = {"linear_before_reset": 1} if kind == "GRU" else {}
    outputs = ["y", "h", "c"][: 3 if kind == "LSTM" else 2]
    w, r, b = floats(2, gates * 5, 3), floats(2, gates * 5, 5), floats(2, gates * 10)

    def path(direction: str, ways: slice) -> Path:
        node = helper.make_node(kind, ["x", "w", "r", "b"], outputs, hidden_size=5, direction=direction, **more)
        return saved(tmp_path, [node], {"x": [7, 2, 3]}, outputs, {"w": w[ways], "r": r[ways], "b": b[ways]})

    x = floats(7, 2, 3)
    check(path("forward", slice(0, 1)), x)
    second = check(path("forward", slice(1, 2)), x)
    there = torch.from_numpy(x)
    first = module_of_onnx(path("forward", slice(0, 1)))(there)
    back = second(there.flip(0))
    both = module_of_onnx(path("bidirectional", slice(0, 2)))(there)
    alone = module_of_onnx(path("reverse", slice(1, 2)))(there)
    for place, flipped in enumerate((back[0].flip(0), *back[1:])):  # the reference evaluator knows one direction
        torch.testing.assert_close(alone[place], flipped)
        torch.testing.assert_close(both[place], torch.cat([first[place], flipped], 0 if place else 1))


def test_a_branch_on_data_is_a_choice(tmp_path: Path) -> None:
    def branch(operator: str) -> Any:
        out = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(operator, ["x"], ["o"])], operator, [], [out])

    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Greater", ["most", "limit"], ["c"]),
        helper.make_node("If", ["c"], ["y"], then_branch=branch("Relu"), else_branch=branch("Neg")),
    ]
    path = saved(tmp_path, nodes, {"x": [3]}, ["y"], {"limit": np.array(0.5, np.float32)})
    for x in (np.array([-1, 0, 2], np.float32), np.array([-1, 0, 0.1], np.float32)):
        torch.export.export(check(path, x), (torch.from_numpy(x),))


@pytest.mark.parametrize("steps", [(1, 1), (-1, -2)])
def test_slices_pads_and_pools(tmp_path: Path, steps: tuple) -> None:
    node = helper.make_node
    nodes = [
        node("Slice", ["x", "starts", "ends", "axes", "steps"], ["a"]),
        node("Pad", ["a", "pads"], ["b"], mode="reflect"),
        node("MaxPool", ["b"], ["y"], kernel_shape=[3], strides=[2], pads=[1, 0]),
    ]
    back = steps[1] < 0
    constants = {"starts": np.array([-1, -1] if back else [0, 1]), "ends": np.array([-99, -99] if back else [9, 2**40]),
                 "axes": np.array([1, 2]), "steps": np.array(steps), "pads": np.array([0, 0, 2, 0, 0, 1])}  # fmt: skip
    check(saved(tmp_path, nodes, {"x": [2, 3, 12]}, ["y"], constants), floats(2, 3, 12))


def test_what_is_not_known_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path, [helper.make_node("MaxRoiPool", ["x"], ["y"], pooled_shape=[1, 1])], {"x": [1]}, ["y"], {})
    with pytest.raises(CaptureError, match="MaxRoiPool"):
        module_of_onnx(path)
    (tmp_path / "no.onnx").write_bytes(b"\xff\xff not a model")
    with pytest.raises(CheckpointError, match=r"no\.onnx"):
        module_of_onnx(tmp_path / "no.onnx")
