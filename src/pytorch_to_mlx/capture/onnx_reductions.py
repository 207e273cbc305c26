"""ONNX's operators that run along axes: reductions, running sums, the largest."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from pytorch_to_mlx.capture.onnx_operators import given, host, is_host, numbers, onnx, to_tensor
from pytorch_to_mlx.errors import CaptureError


def _reduction(name: str, function: Callable[[torch.Tensor, list[int], bool], Any], plain: Any = None) -> None:
    @onnx(name)
    def apply(node: Any, x: Any, axes: Any = None) -> Any:
        listed = given(node, "axes", axes)
        if is_host(x) and plain is not None:
            total = plain(x.reshape(-1).tolist())
            return host([total] if node.attributes.get("keepdims", 1) and x.ndim else total)
        x = to_tensor(x)
        if not listed:
            if node.attributes.get("noop_with_empty_axes"):
                return x
            listed = list(range(x.ndim))
        return function(x, listed, bool(node.attributes.get("keepdims", 1)))


def _product(x: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = torch.prod(x, axis, keepdim=keep)
    return x


_reduction("ReduceMean", lambda x, axes, keep: x.mean(axes, keep))
_reduction("ReduceSum", lambda x, axes, keep: x.sum(axes, keep), sum)
_reduction("ReduceMax", lambda x, axes, keep: x.amax(axes, keep), max)
_reduction("ReduceMin", lambda x, axes, keep: x.amin(axes, keep), min)
_reduction("ReduceProd", _product, lambda items: math.prod(items))
_reduction("ReduceL1", lambda x, axes, keep: x.abs().sum(axes, keep))
_reduction("ReduceL2", lambda x, axes, keep: x.square().sum(axes, keep).sqrt())
_reduction("ReduceSumSquare", lambda x, axes, keep: x.square().sum(axes, keep))
_reduction("ReduceLogSum", lambda x, axes, keep: x.sum(axes, keep).log())
_reduction("ReduceLogSumExp", lambda x, axes, keep: torch.logsumexp(x, axes, keep))


@onnx("ArgMax", "ArgMin")
def argmax(node: Any, x: Any) -> Any:
    axis, keep = node.attributes.get("axis", 0), bool(node.attributes.get("keepdims", 1))
    if node.attributes.get("select_last_index"):
        raise CaptureError("select_last_index is not known")
    return (torch.argmax if node.operator == "ArgMax" else torch.argmin)(x, axis, keep)


@onnx("CumSum")
def cumsum(node: Any, x: Any, axis: Any) -> Any:
    (dim,) = numbers(axis)
    backwards = bool(node.attributes.get("reverse"))
    y = x.flip(dim) if backwards else x
    total = torch.cumsum(y, dim)
    total = total - y if node.attributes.get("exclusive") else total
    return total.flip(dim) if backwards else total


@onnx("TopK")
def topk(node: Any, x: Any, k: Any = None) -> Any:
    count = numbers(k)[0] if k is not None else node.attributes["k"]
    axis, largest = node.attributes.get("axis", -1), bool(node.attributes.get("largest", 1))
    return tuple(torch.topk(x, count, axis, largest, bool(node.attributes.get("sorted", 1))))
