"""Sums, means, extrema and the like, along axes."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import torch

from pytorch_to_mlx.capture.code import Code, as_code, binary, call, item, method
from pytorch_to_mlx.capture.emitter import DTYPES, Emitter, Tensor
from pytorch_to_mlx.capture.operators.elementwise import as_bool, floating
from pytorch_to_mlx.capture.operators.registry import lowers


def axes(x: Tensor, dims: Any) -> Any:
    """Axes for MLX: a number, a tuple, or None for all."""
    if dims is None or x.ndim == 0 or (isinstance(dims, list) and not dims):
        return None
    listed = dims if isinstance(dims, list) else [dims]
    if len(listed) == x.ndim > 1 and len({x.axis(dim) for dim in listed}) == x.ndim:
        return None
    return listed[0] if len(listed) == 1 else tuple(listed)


def reduced(function: str, x: Any, axis: Any, keepdim: bool, **more: Any) -> Code:
    """`function(x, axis=axis, keepdims=True)`."""
    return call(function, x, axis=axis, keepdims=True if keepdim else None, **more)


def last(x: Tensor, dim: int) -> int | None:
    """The axis for a function that takes the last one when it is not told."""
    return None if dim in (-1, x.ndim - 1) else dim


def _is_empty(value: torch.Tensor) -> bool:
    return any(isinstance(size, int) and size == 0 for size in value.shape)


def _by_sum(function: str, *names: str) -> None:
    """A reduction that torch computes in the result's dtype."""

    @lowers(*names)
    def lower(e: Emitter, x: Tensor, dims: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Code:
        return reduced(function, convert(e, x), axes(x, dims), keepdim)


def convert(e: Emitter, x: Tensor) -> Code:
    """The tensor in the result's dtype."""
    return e.cast(x, x.dtype, e.out.dtype)


_by_sum("mx.mean", "mean.dim", "mean.default")


@lowers("sum.dim_IntList", "sum.default")
def total(e: Emitter, x: Tensor, dims: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Code:
    return _accumulated(e, "mx.any", "mx.sum", x, dims, keepdim)


@lowers("prod.dim_int", "prod.default")
def product(e: Emitter, x: Tensor, dims: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Code:
    return _accumulated(e, "mx.all", "mx.prod", x, dims, keepdim)


def _accumulated(e: Emitter, truth: str, function: str, x: Tensor, dims: Any, keepdim: bool) -> Code:
    if e.out.dtype == torch.bool:
        return reduced(truth, x, axes(x, dims), keepdim)
    have = mx.sum(mx.array(0, DTYPES[e.out.dtype])).dtype  # small integers become int32
    return e.cast(reduced(function, convert(e, x), axes(x, dims), keepdim), have, e.out.dtype)


@lowers("nansum.default")
def nansum(e: Emitter, x: Tensor, dims: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Code:
    if not x.is_floating:
        return total(e, x, dims, keepdim)
    return reduced("runtime.nansum", convert(e, x), axes(x, dims), keepdim)


@lowers("nanmean.default")
def nanmean(e: Emitter, x: Tensor, dims: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Code:
    return reduced("runtime.nanmean", convert(e, x), axes(x, dims), keepdim)


def _extremum(kind: str) -> None:
    @lowers(f"a{kind}.default")
    def along(e: Emitter, x: Tensor, dims: Any, keepdim: bool) -> Code:
        return _whole(e, f"mx.{kind}", x, axes(x, dims), keepdim)

    @lowers(f"{kind}.default")
    def of_all(e: Emitter, x: Tensor) -> Code:
        return call(f"mx.{kind}", x)

    @lowers(f"{kind}.dim")
    def with_place(e: Emitter, x: Tensor, dim: int, keepdim: bool) -> tuple[Code, ...]:
        if _is_empty(e.out[0]):
            shape = e.shape(e.out[0].shape)
            return tuple(call("mx.zeros", shape, dtype=e.dtype(each.dtype)) for each in e.out)
        if x.ndim == 0:
            return x, call("mx.zeros", e.shape([]), dtype=e.dtype(torch.int64))
        place = method(reduced(f"mx.arg{kind}", x, dim, keepdim), "astype", e.dtype(torch.int64))
        return reduced(f"mx.{kind}", x, dim, keepdim), place

    @lowers(f"arg{kind}.default")
    def place_of(e: Emitter, x: Tensor, dim: Any = None, keepdim: bool = False) -> Code:
        if _is_empty(e.out):
            return call("mx.zeros", e.shape(e.out.shape), dtype=e.dtype(torch.int64))
        place = reduced(f"mx.arg{kind}", x, None if x.ndim == 0 else dim, keepdim and x.ndim > 0)
        return method(place, "astype", e.dtype(torch.int64))


def _whole(e: Emitter, function: str, x: Tensor, axis: Any, keepdim: bool) -> Code:
    if _is_empty(e.out):
        return call("mx.zeros", e.shape(e.out.shape), dtype=e.dtype(e.out.dtype))
    return reduced(function, x, axis, keepdim)


_extremum("max")
_extremum("min")


@lowers("aminmax.default")
def aminmax(e: Emitter, x: Tensor, *, dim: int | None = None, keepdim: bool = False) -> tuple[Code, Code]:
    axis = axes(x, dim)
    return reduced("mx.min", x, axis, keepdim), reduced("mx.max", x, axis, keepdim)


@lowers("_softmax.default", "softmax.int", "special_softmax.default", "_safe_softmax.default")
def softmax(e: Emitter, x: Tensor, dim: int, *rest: Any, **options: Any) -> Code:
    plain = convert(e, x)
    if x.ndim == 0:
        return call("mx.softmax", plain, axis=Code("()"))
    if _is_empty(x.value):
        return plain
    safe = "_safe" in str(e.node.target)
    return e.runtime("safe_softmax" if safe else "softmax", plain, axis=last(x, dim))


@lowers("_log_softmax.default", "log_softmax.int", "special_log_softmax.default")
def log_softmax(e: Emitter, x: Tensor, dim: int, *rest: Any, **options: Any) -> Code:
    plain = convert(e, x)
    if x.ndim == 0:
        return method(e.runtime("log_softmax", method(plain, "reshape", 1)), "reshape", Code("()"))
    if _is_empty(x.value):
        return plain
    return e.runtime("log_softmax", plain, axis=last(x, dim))


@lowers("logsumexp.default", "special_logsumexp.default")
def logsumexp(e: Emitter, x: Tensor, dims: Any, keepdim: bool) -> Code:
    if _is_empty(x.value):
        return call("mx.full", e.shape(e.out.shape), Code("-mx.inf"))
    return reduced("mx.logsumexp", floating(e, x), axes(x, dims), keepdim)


@lowers("any.default", "any.dim", "any.dims")
def anywhere(e: Emitter, x: Tensor, dims: Any = None, keepdim: bool = False) -> Code:
    return _truth(e, "mx.any", x, dims, keepdim)


@lowers("all.default", "all.dim", "all.dims")
def everywhere(e: Emitter, x: Tensor, dims: Any = None, keepdim: bool = False) -> Code:
    return _truth(e, "mx.all", x, dims, keepdim)


def _truth(e: Emitter, function: str, x: Tensor, dims: Any, keepdim: bool) -> Code:
    if dims == [] and "dims" in str(e.node.target):
        return as_bool(e, x)  # no axis at all
    return e.cast(reduced(function, x, axes(x, dims), keepdim), mx.bool_, e.out.dtype)


@lowers("count_nonzero.default", "count_nonzero.dim_IntList")
def count_nonzero(e: Emitter, x: Tensor, dims: Any = None) -> Code:
    return reduced("mx.sum", method(as_bool(e, x), "astype", e.dtype(torch.int64)), axes(x, dims), False)


def _spread(name: str) -> None:
    @lowers(f"{name}.correction")
    def lower(e: Emitter, x: Tensor, dims: Any = None, *, correction: Any = 1, keepdim: bool = False) -> Code:
        return _variance(e, f"mx.{name}", x, dims, correction, keepdim)

    @lowers(f"{name}.default")
    def of_all(e: Emitter, x: Tensor, unbiased: bool) -> Code:
        return _variance(e, f"mx.{name}", x, None, int(unbiased), False)

    @lowers(f"{name}.dim")
    def along(e: Emitter, x: Tensor, dims: Any, unbiased: bool, keepdim: bool) -> Code:
        return _variance(e, f"mx.{name}", x, dims, int(unbiased), keepdim)

    @lowers(f"{name}_mean.correction")
    def with_mean(e: Emitter, x: Tensor, dims: Any = None, *, correction: Any = 1, keepdim: bool = False) -> Any:
        spread = _variance(e, f"mx.{name}", x, dims, correction, keepdim)
        return spread, reduced("mx.mean", x, axes(x, dims), keepdim)


def _variance(e: Emitter, function: str, x: Tensor, dims: Any, correction: Any, keepdim: bool) -> Code:
    ddof = 1 if correction is None else correction
    axis = axes(x, dims)
    listed = range(x.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    count: Any = 1
    for dim in listed:
        count = count * x.shape[dim]
    if isinstance(ddof, float) and not ddof.is_integer():
        return reduced(f"runtime.{function[3:]}", x, axis, keepdim, correction=e.literal(ddof, "correction"))
    if x.dtype.is_complex or (isinstance(count, int) and count <= ddof):  # nan or inf, as the deviations are
        return reduced(f"runtime.{function[3:]}", x, axis, keepdim, correction=e.literal(int(ddof), "correction"))
    return reduced(function, x, axis, keepdim, ddof=e.literal(int(ddof), "ddof") if ddof else None)


_spread("var")
_spread("std")


@lowers("linalg_vector_norm.default")
def vector_norm(e: Emitter, x: Tensor, order: Any, dims: Any, keepdim: bool, *, dtype: Any = None) -> Code:
    return norm_of(e, x, order, dims, keepdim)


@lowers("norm.Scalar")
def norm(e: Emitter, x: Tensor, order: Any = 2) -> Code:
    return norm_of(e, x, order, None, False)


@lowers("norm.ScalarOpt_dim", "norm.ScalarOpt_dim_dtype")
def norm_along(e: Emitter, x: Tensor, order: Any, dims: Any, keepdim: bool = False, *, dtype: Any = None) -> Code:
    return norm_of(e, x, 2 if order is None else order, dims, keepdim)


@lowers("norm.ScalarOpt_dtype")
def norm_in(e: Emitter, x: Tensor, order: Any, *, dtype: Any = None) -> Code:
    return norm_of(e, x, 2 if order is None else order, None, False)


def norm_of(e: Emitter, x: Tensor, order: Any, dims: Any, keepdim: bool) -> Code:
    """The norm of the elements, taken as a vector."""
    axis = axes(x, dims)
    kept = x if x.dtype.is_complex else convert(e, x)
    if order == 2 and x.ndim and (axis is None or isinstance(axis, int) or len(axis) <= 2) and not x.dtype.is_complex:
        return reduced("mx.linalg.norm", kept, axis, keepdim)
    return reduced("runtime.vector_norm", kept, axis, keepdim, ord=e.literal(order, "ord"))


def _middle(name: str) -> None:
    @lowers(f"{name}.default")
    def of_all(e: Emitter, x: Tensor) -> Code:
        return item(e.runtime(name, method(x, "reshape", -1)), "0")

    @lowers(f"{name}.dim")
    def along(e: Emitter, x: Tensor, dim: int, keepdim: bool) -> Any:
        return _chosen(e, name, x, dim, keepdim)


_middle("median")
_middle("nanmedian")


@lowers("mode.default")
def mode(e: Emitter, x: Tensor, dim: int, keepdim: bool) -> Any:
    return _chosen(e, "mode", x, dim, keepdim)


def _chosen(e: Emitter, function: str, x: Tensor, dim: int, keepdim: bool) -> Any:
    if x.ndim == 0:
        return x, call("mx.zeros", e.shape([]), dtype=e.dtype(torch.int64))
    return e.runtime(function, x, axis=last(x, dim), keepdims=keepdim or None)


@lowers("dist.default")
def dist(e: Emitter, a: Tensor, b: Tensor, order: Any) -> Code:
    difference = e.as_result(binary("-", a, b), a, b)
    return e.runtime("vector_norm", difference, ord=e.literal(order, "ord"))


__all__ = ["as_code", "axes", "reduced"]
