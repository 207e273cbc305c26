"""Order: sorting, the largest and smallest, places in sorted sequences."""

from __future__ import annotations

from typing import Any

import torch

from pytorch_to_mlx.capture.code import Code, call
from pytorch_to_mlx.capture.emitter import Emitter, Tensor
from pytorch_to_mlx.capture.operators.registry import lowers
from pytorch_to_mlx.errors import CaptureError


def _along(x: Tensor, dim: int) -> int | None:
    """The axis, unless it is MLX's default: the last."""
    return None if x.axis(dim) in (x.ndim - 1, -1) else dim


@lowers("sort.default")
def sort(e: Emitter, x: Tensor, dim: int = -1, descending: bool = False) -> Any:
    return _sorted(e, x, dim, descending)


@lowers("sort.stable")
def stable_sort(e: Emitter, x: Tensor, *, stable: Any = None, dim: int = -1, descending: bool = False) -> Any:
    return _sorted(e, x, dim, descending)


def _sorted(e: Emitter, x: Tensor, dim: int, descending: bool) -> Any:
    axis, order = _along(x, dim), True if descending else None
    if not x.ndim or (e.uses(0) and e.uses(1)):
        return e.runtime("sort", x, axis=axis, descending=order)
    values = call("mx.sort", x, axis=axis)
    if descending:
        values = call("mx.flip", values, axis=dim)
    return values, e.runtime("argsort", x, axis=axis, descending=order)


@lowers("argsort.default")
def argsort(e: Emitter, x: Tensor, dim: int = -1, descending: bool = False) -> Code:
    return e.runtime("argsort", x, axis=_along(x, dim), descending=True if descending else None)


@lowers("argsort.stable")
def stable_argsort(e: Emitter, x: Tensor, *, stable: bool, dim: int = -1, descending: bool = False) -> Code:
    return argsort(e, x, dim, descending)


@lowers("msort.default")
def sort_first(e: Emitter, x: Tensor) -> Code:
    return call("mx.sort", x, axis=0) if x.ndim else x


@lowers("topk.default")
def topk(e: Emitter, x: Tensor, k: Any, dim: int = -1, largest: bool = True, in_order: bool = True) -> Code:
    return e.runtime("topk", x, e.size(k, "k"), axis=_along(x, dim), largest=None if largest else False)


@lowers("kthvalue.default")
def kthvalue(e: Emitter, x: Tensor, k: Any, dim: int = -1, keepdim: bool = False) -> Code:
    return e.runtime("kthvalue", x, e.size(k, "k"), axis=_along(x, dim), keepdims=True if keepdim else None)


@lowers("searchsorted.Tensor", "searchsorted.Scalar")
def searchsorted(
    e: Emitter,
    sequence: Tensor,
    values: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Code:
    ordered = sequence if sorter is None else call("mx.take_along_axis", sequence, sorter, axis=-1)
    return _place(e, ordered, _values(e, values, sequence), right or side == "right")


@lowers("bucketize.Tensor", "bucketize.Scalar")
def bucketize(e: Emitter, values: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Code:
    return _place(e, boundaries, _values(e, values, boundaries), right)


def _values(e: Emitter, values: Any, like: Tensor) -> Code:
    return values if isinstance(values, Tensor) else call("mx.array", e.literal(values), e.dtype(like.dtype))


def _place(e: Emitter, sequence: Code, values: Code, right: bool) -> Code:
    found = e.runtime("searchsorted", sequence, values, side="right" if right else None)
    return e.cast(found, torch.int64, e.out.dtype)


@lowers("histc.default")
def histc(e: Emitter, x: Tensor, bins: int = 100, low: float = 0, high: float = 0) -> Code:
    if not x.is_floating:
        raise CaptureError("histc: of integers")
    return e.runtime("histc", x, e.size(bins, "bins"), e.literal(low, "low"), e.literal(high, "high"))


@lowers("diff.default")
def diff(
    e: Emitter, x: Tensor, n: int = 1, dim: int = -1, before: Tensor | None = None, after: Tensor | None = None
) -> Code:
    if n == 0:
        return x
    parts = [each for each in (before, x, after) if each is not None]
    whole = x if len(parts) == 1 else call("mx.concatenate", parts, axis=None if dim == 0 else dim)
    return call("mx.diff", whole, n=None if n == 1 else n, axis=_along(x, dim))
