"""ONNX's layers in torch's: convolutions, pools, norms, padding, resizing and recurrence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from pytorch_to_mlx.capture.onnx_operators import given, is_host, numbers, onnx, operands, to_tensor
from pytorch_to_mlx.errors import CaptureError


def _spread(node: Any, name: str, rank: int, default: int = 1) -> list[int]:
    return list(node.attributes.get(name, [default] * rank))


def _pads(node: Any, x: torch.Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> list:
    """Before and after each axis."""
    rank, auto = len(kernel), node.attributes.get("auto_pad", "NOTSET")
    if auto == "NOTSET":
        pads = _spread(node, "pads", 2 * rank, 0)
        return list(zip(pads[:rank], pads[rank:], strict=True))
    if auto == "VALID":
        return [(0, 0)] * rank
    pairs = []
    for size, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True):
        reach = (k - 1) * d
        total = reach if s == 1 else torch.sym_max(0, ((size + s - 1) // s - 1) * s + reach + 1 - size)
        pairs.append((total // 2, total - total // 2) if auto == "SAME_UPPER" else (total - total // 2, total // 2))
    return pairs


def _padded(x: torch.Tensor, pads: list, value: float = 0.0) -> tuple[torch.Tensor, list]:
    """x, padded by itself where both ends of an axis differ; and the padding that is left to do."""
    if all(isinstance(before, int) and before == after for before, after in pads):
        return x, [before for before, _ in pads]
    return F.pad(x, [each for pair in reversed(pads) for each in pair], value=value), [0] * len(pads)


@onnx("Conv")
def conv(node: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    rank = weight.ndim - 2
    stride, dilation = _spread(node, "strides", rank), _spread(node, "dilations", rank)
    x, padding = _padded(x, _pads(node, x, weight.shape[2:], stride, dilation))
    function = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[rank]
    return function(x, weight, bias, stride, padding, dilation, node.attributes.get("group", 1))


@onnx("ConvTranspose")
def conv_transpose(node: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    rank = weight.ndim - 2
    if node.attributes.get("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in node.attributes:
        raise CaptureError("auto_pad and output_shape are not known")
    stride, dilation = _spread(node, "strides", rank), _spread(node, "dilations", rank)
    more, pads = _spread(node, "output_padding", rank, 0), _spread(node, "pads", 2 * rank, 0)
    function = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}[rank]
    groups, before, after = node.attributes.get("group", 1), pads[:rank], pads[rank:]
    if before == after:
        return function(x, weight, bias, stride, before, more, groups, dilation)
    y = function(x, weight, bias, stride, 0, more, groups, dilation)
    return F.pad(y, [-each for pair in reversed(list(zip(before, after, strict=True))) for each in pair])


@onnx("MaxPool")
def max_pool(node: Any, x: Any) -> Any:
    kernel = node.attributes["kernel_shape"]
    rank = len(kernel)
    stride, dilation = _spread(node, "strides", rank), _spread(node, "dilations", rank)
    pads = _pads(node, x, kernel, stride, dilation)
    if any(before != after or 2 * before > k for (before, after), k in zip(pads, kernel, strict=True)):
        x, pads = F.pad(x, [each for pair in reversed(pads) for each in pair], value=-math.inf), [(0, 0)] * rank
    function = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[rank]
    if len(node.outputs) > 1:
        raise CaptureError("indices of a pool are not known")
    ceil = bool(node.attributes.get("ceil_mode"))
    return function(x, kernel, stride, [before for before, _ in pads], dilation, ceil)


@onnx("AveragePool")
def average_pool(node: Any, x: Any) -> Any:
    kernel = node.attributes["kernel_shape"]
    rank = len(kernel)
    stride, counted = _spread(node, "strides", rank), bool(node.attributes.get("count_include_pad"))
    pads = _pads(node, x, kernel, stride, [1] * rank)
    x, padding = _padded(x, pads)
    if not counted and padding != [before for before, _ in pads]:
        raise CaptureError("pads that differ at both ends, and are not counted, are not known")
    function = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[rank]
    return function(x, kernel, stride, padding, bool(node.attributes.get("ceil_mode")), counted)


@onnx("GlobalAveragePool")
def global_average_pool(node: Any, x: Any) -> Any:
    return x.mean(list(range(2, x.ndim)), keepdim=True)


@onnx("GlobalMaxPool")
def global_max_pool(node: Any, x: Any) -> Any:
    return x.amax(list(range(2, x.ndim)), keepdim=True)


@onnx("BatchNormalization")
def batch_norm(node: Any, x: Any, scale: Any, bias: Any, mean: Any, variance: Any) -> Any:
    if node.attributes.get("training_mode"):
        raise CaptureError("training_mode is not known")
    return F.batch_norm(x, mean, variance, scale, bias, False, 0.0, node.attributes.get("epsilon", 1e-5))


@onnx("InstanceNormalization")
def instance_norm(node: Any, x: Any, scale: Any, bias: Any) -> Any:
    return F.instance_norm(x, weight=scale, bias=bias, eps=node.attributes.get("epsilon", 1e-5))


@onnx("LayerNormalization")
def layer_norm(node: Any, x: Any, scale: Any, bias: Any = None) -> Any:
    if len(node.outputs) > 1:
        raise CaptureError("means of a norm are not known")
    shape = list(x.shape[node.attributes.get("axis", -1) % x.ndim :])
    return F.layer_norm(x, shape, scale, bias, node.attributes.get("epsilon", 1e-5))


@onnx("GroupNormalization")
def group_norm(node: Any, x: Any, scale: Any, bias: Any) -> Any:
    groups = node.attributes["num_groups"]
    if scale.shape[0] != x.shape[1]:
        scale, bias = (each.repeat_interleave(x.shape[1] // groups) for each in (scale, bias))
    return F.group_norm(x, groups, scale, bias, node.attributes.get("epsilon", 1e-5))


@onnx("RMSNormalization")
def rms_norm(node: Any, x: Any, scale: Any) -> Any:
    shape = list(x.shape[node.attributes.get("axis", -1) % x.ndim :])
    return F.rms_norm(x, shape, scale, node.attributes.get("epsilon", 1e-5))


@onnx("LpNormalization")
def lp_norm(node: Any, x: Any) -> Any:
    axis, p = node.attributes.get("axis", -1), node.attributes.get("p", 2)
    return x / torch.linalg.vector_norm(x, p, axis, keepdim=True)


@onnx("Pad")
def pad(node: Any, x: Any, pads: Any = None, value: Any = None, axes: Any = None) -> Any:
    widths, mode = given(node, "pads", pads), node.attributes.get("mode", "constant")
    listed = [axis % x.ndim for axis in (numbers(axes) if axes is not None else range(x.ndim))]
    pairs: list[tuple[Any, Any]] = [(0, 0)] * x.ndim
    for place, axis in enumerate(listed):
        pairs[axis] = (widths[place], widths[place + len(listed)])
    while pairs and all(isinstance(each, int) and each == 0 for each in pairs[0]):
        pairs.pop(0)  # F.pad takes the last axes, the last one first
    flat = [each for pair in reversed(pairs) for each in pair]
    if not flat:
        return x
    if mode == "constant":
        fill = node.attributes.get("value", 0.0) if value is None else operands(x, value)[1]
        return F.pad(x, flat, value=fill)
    kind = {"edge": "replicate", "reflect": "reflect", "wrap": "circular"}[mode]
    lead = x.ndim - len(pairs)  # of which torch wants one or two
    if lead == 0:
        return F.pad(x[None], flat, mode=kind)[0]
    if lead > 2:
        return F.pad(x.flatten(0, lead - 2), flat, mode=kind).unflatten(0, x.shape[: lead - 1])
    return F.pad(x, flat, mode=kind)


@onnx("Resize", "Upsample")
def resize(node: Any, x: Any, *rest: Any) -> Any:
    a, mode = node.attributes, node.attributes.get("mode", "nearest")
    inputs = [None, *rest] if node.operator == "Upsample" or node.version < 11 else list(rest)
    scales, sizes = (inputs[1] if len(inputs) > 1 else None), (inputs[2] if len(inputs) > 2 else None)
    where = a.get("coordinate_transformation_mode", "half_pixel" if node.version >= 11 else "asymmetric")
    spatial = x.ndim - 2
    factors = a.get("scales") if scales is None or not _count(scales) else numbers(scales, "scales")
    target = None if sizes is None or not _count(sizes) else numbers(sizes, "sizes")[2:]
    ends = factors[2:] if factors else None
    if a.get("axes") or (factors and any(each != 1 for each in factors[:2])):
        raise CaptureError("resizing of the batch or of channels is not known")
    if mode == "nearest":
        whole = ends is not None and all(float(each).is_integer() for each in ends)
        if where not in ("asymmetric", "half_pixel") or (where == "half_pixel" and not whole and target is None):
            raise CaptureError(f"nearest with {where} is not known")
        if where == "asymmetric" and a.get("nearest_mode", "round_prefer_floor") != "floor" and not whole:
            raise CaptureError(f"nearest_mode={a.get('nearest_mode')} is not known")
        if where == "half_pixel":
            return F.interpolate(x, target, ends if target is None else None, "nearest-exact")
        return F.interpolate(x, target, ends if target is None else None, "nearest")
    if where not in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        raise CaptureError(f"coordinate_transformation_mode={where} is not known")
    kinds = {"linear": {1: "linear", 2: "bilinear", 3: "trilinear"}, "cubic": {2: "bicubic"}}
    kind = kinds.get(mode, {}).get(spatial)
    if kind is None or (mode == "cubic" and a.get("cubic_coeff_a", -0.75) != -0.75) or a.get("antialias"):
        raise CaptureError(f"mode={mode} of {spatial} axes is not known")
    return F.interpolate(x, target, ends if target is None else None, kind, where == "align_corners")


def _count(value: Any) -> int:
    return value.size if is_host(value) else value.numel()


# Recurrence.

ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
"""Torch's gates among ONNX's."""


def recurrent_module(node: Any, inputs: Sequence[Any]) -> nn.Module | None:
    """A recurrent node's module, if it is one and its weights are known; None for any other node.

    Raises:
        CaptureError: torch's layer cannot compute it.
    """
    if node.operator not in ORDER:
        return None
    if any(each is None for each in inputs[1:3]) or (len(node.inputs) > 3 and node.inputs[3] and inputs[3] is None):
        return None
    return Recurrent(node, inputs)


class Recurrent(nn.Module):
    """ONNX's LSTM, GRU or RNN; its results are Y (steps, directions, batch, units), Y_h and Y_c."""

    def __init__(self, node: Any, inputs: Sequence[Any]) -> None:
        super().__init__()
        kind, a = node.operator, node.attributes
        self.__class__ = type(f"Onnx{kind}", (Recurrent,), {"__module__": "onnx_graph"})  # type: ignore[assignment]
        self.kind, self.direction = kind, a.get("direction", "forward")
        both = self.direction == "bidirectional"
        nonlinearity = _checked(node, 2 if both else 1)
        w, r = (to_tensor(each).float() for each in inputs[1:3])
        b = to_tensor(inputs[3]) if len(inputs) > 3 and inputs[3] is not None else None
        units = r.shape[-1]
        options: dict[str, Any] = {"bias": b is not None, "bidirectional": both}
        if kind == "RNN":
            options["nonlinearity"] = nonlinearity
        self.layer = getattr(nn, kind)(w.shape[-1], units, **options).requires_grad_(False)
        order = torch.cat([torch.arange(gate * units, (gate + 1) * units) for gate in ORDER[kind]])
        rows = len(order)
        for place, end in enumerate(("", "_reverse")[: len(w)]):
            values = {"weight_ih": w[place][order], "weight_hh": r[place][order]}
            if b is not None:
                values |= {"bias_ih": b[place][:rows][order], "bias_hh": b[place][rows:][order]}
            for name, value in values.items():
                getattr(self.layer, f"{name}_l0{end}").copy_(value)

    def forward(self, x: Any, *inputs: Any) -> tuple:
        """ONNX's inputs, of which weights are not read."""
        lengths, h, c = ([*inputs, None, None, None, None, None, None])[3:6]
        if lengths is not None and not (is_host(lengths) and all(_same(n, x.shape[0]) for n in numbers(lengths))):
            raise CaptureError("sequences of different lengths are not known")
        directions = 2 if self.direction == "bidirectional" else 1
        states: Any = None
        if h is not None or c is not None:
            shape = (directions, x.shape[1], self.layer.hidden_size)
            first, second = (x.new_zeros(shape) if each is None else to_tensor(each) for each in (h, c))
            states = (first, second) if self.kind == "LSTM" else first
        backwards = self.direction == "reverse"
        y, ends = self.layer(x.flip(0) if backwards else x, states)
        y = y.flip(0) if backwards else y
        y = y.unflatten(2, (directions, self.layer.hidden_size)).transpose(1, 2)
        return (y, *ends) if self.kind == "LSTM" else (y, ends)


def _same(a: Any, b: Any) -> bool:
    return isinstance(a, int) and isinstance(b, int) and a == b


def _checked(node: Any, directions: int) -> str:
    """That torch's layer computes it; the activation of an RNN."""
    a, kind = node.attributes, node.operator
    usual = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}[kind]
    activations = a.get("activations", usual * directions)
    plain = activations == usual * directions or (kind == "RNN" and set(activations) == {"Relu"})
    unusual = [name for name in ("clip", "input_forget", "layout") if a.get(name)]
    unusual += [] if plain else ["activations"]
    unusual += ["linear_before_reset=0"] if kind == "GRU" and not a.get("linear_before_reset") else []
    unusual += ["peepholes"] if len(node.inputs) > 7 and node.inputs[7] else []
    if unusual:
        raise CaptureError(f"{node}: {', '.join(unusual)} of a recurrent layer is not known")
    return "relu" if "Relu" in activations else "tanh"


@onnx("LSTM", "GRU", "RNN")
def recurrent(node: Any, *inputs: Any) -> Any:
    raise CaptureError("weights of a recurrent layer that are not constant are not known")
