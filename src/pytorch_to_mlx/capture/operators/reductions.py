"""Sums, means, extrema and the like, along axes."""

from __future__ import annotations

from typing import Any

import torch

from pytorch_to_mlx.capture.code import Code, call
from pytorch_to_mlx.capture.emitter import Emitter, Tensor
from pytorch_to_mlx.capture.operators.registry import lowers


def axes(x: Tensor, dims: Any) -> Any:
    """Axes for MLX: a number, a tuple, or None for all."""
    if dims is None or (isinstance(dims, list) and not dims):
        return None
    listed = dims if isinstance(dims, list) else [dims]
    return listed[0] if len(listed) == 1 else tuple(listed)


def reduced(function: str, x: Any, axis: Any, keepdim: bool, **more: Any) -> Code:
    """`function(x, axis=axis, keepdims=True)`."""
    return call(function, x, axis=axis, keepdims=True if keepdim else None, **more)


@lowers("mean.dim", "mean.default")
def mean(e: Emitter, x: Tensor, dims: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Code:
    return reduced("mx.mean", e.cast(x, x.dtype, e.out.dtype), axes(x, dims), keepdim)


@lowers("sum.dim_IntList", "sum.default")
def total(e: Emitter, x: Tensor, dims: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Code:
    return reduced("mx.sum", e.cast(x, x.dtype, e.out.dtype), axes(x, dims), keepdim)


@lowers("amax.default")
def amax(e: Emitter, x: Tensor, dims: Any, keepdim: bool) -> Code:
    return reduced("mx.max", x, axes(x, dims), keepdim)


@lowers("amin.default")
def amin(e: Emitter, x: Tensor, dims: Any, keepdim: bool) -> Code:
    return reduced("mx.min", x, axes(x, dims), keepdim)


@lowers("max.default")
def largest(e: Emitter, x: Tensor) -> Code:
    return call("mx.max", x)


@lowers("min.default")
def smallest(e: Emitter, x: Tensor) -> Code:
    return call("mx.min", x)


@lowers("_softmax.default", "softmax.int")
def softmax(e: Emitter, x: Tensor, dim: int, *rest: Any) -> Code:
    return e.runtime("softmax", e.cast(x, x.dtype, e.out.dtype), axis=None if dim in (-1, x.ndim - 1) else dim)


@lowers("_log_softmax.default", "log_softmax.int")
def log_softmax(e: Emitter, x: Tensor, dim: int, *rest: Any) -> Code:
    return call("nn.log_softmax", e.cast(x, x.dtype, e.out.dtype), axis=None if dim in (-1, x.ndim - 1) else dim)


@lowers("cumsum.default")
def cumsum(e: Emitter, x: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Code:
    return call("mx.cumsum", e.cast(x, x.dtype, e.out.dtype), axis=dim)


@lowers("argmax.default", "argmin.default")
def argmax(e: Emitter, x: Tensor, dim: Any = None, keepdim: bool = False) -> Code:
    name = "mx.argmax" if "argmax" in str(e.node.target) else "mx.argmin"
    return Code(f"{reduced(name, x, dim, keepdim).text}.astype(mx.int64)")


@lowers("any.default", "any.dim", "any.dims")
def anywhere(e: Emitter, x: Tensor, dims: Any = None, keepdim: bool = False) -> Code:
    return reduced("mx.any", x, axes(x, dims), keepdim)


@lowers("all.default", "all.dim", "all.dims")
def everywhere(e: Emitter, x: Tensor, dims: Any = None, keepdim: bool = False) -> Code:
    return reduced("mx.all", x, axes(x, dims), keepdim)


@lowers("var.correction", "std.correction")
def variance(e: Emitter, x: Tensor, dims: Any = None, *, correction: Any = 1, keepdim: bool = False) -> Code:
    name = "mx.var" if ".var." in str(e.node.target) else "mx.std"
    ddof = 1 if correction is None else correction
    return reduced(name, x, axes(x, dims), keepdim, ddof=e.literal(ddof) if ddof else None)
