"""Diagonals, triangles, and views by strides."""

from __future__ import annotations

import math
from typing import Any

import torch

from pytorch_to_mlx.capture.code import Code, call
from pytorch_to_mlx.capture.emitter import Emitter, Tensor
from pytorch_to_mlx.capture.operators.registry import lowers
from pytorch_to_mlx.capture.operators.shapes import reordered
from pytorch_to_mlx.errors import CaptureError


@lowers("diagonal.default", "diagonal_copy.default")
def diagonal(e: Emitter, x: Tensor, offset: int, first: int, second: int) -> Code:
    return _diagonal(x, offset, first, second)


@lowers("linalg_diagonal.default")
def matrix_diagonal(e: Emitter, x: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Code:
    return _diagonal(x, offset, dim1, dim2)


def _diagonal(x: Tensor, offset: int, first: int, second: int) -> Code:
    axes = (x.axis(first), x.axis(second))
    named = {} if axes == (0, 1) else {"axis1": first, "axis2": second}
    return call("mx.diagonal", x, *([offset] if offset else []), **named)


@lowers("diag.default")
def diag(e: Emitter, x: Tensor, offset: int = 0) -> Code:
    return e.runtime("diag_embed", x, offset=offset or None) if x.ndim == 1 else _diagonal(x, offset, 0, 1)


@lowers("diagflat.default")
def diagonal_of_all(e: Emitter, x: Tensor, offset: int = 0) -> Code:
    flat = x if x.ndim == 1 else Code(f"{x.atom}.flatten()")
    return e.runtime("diag_embed", flat, offset=offset or None)


@lowers("diag_embed.default")
def diag_embed(e: Emitter, x: Tensor, offset: int = 0, first: int = -2, second: int = -1) -> Code:
    axes = (first % e.out.ndim, second % e.out.ndim)
    named = {} if axes == (e.out.ndim - 2, e.out.ndim - 1) else {"axis1": first, "axis2": second}
    return e.runtime("diag_embed", x, offset=offset or None, **named)


@lowers("trace.default")
def trace(e: Emitter, x: Tensor) -> Code:
    return call("mx.sum", call("mx.diagonal", e.cast(x, x.dtype, e.out.dtype)))


@lowers("tril.default", "triu.default")
def triangle(e: Emitter, x: Tensor, diagonal: int = 0) -> Code:
    name = "mx.tril" if "tril" in str(e.node.target) else "mx.triu"
    return call(name, x, k=e.size(diagonal) if isinstance(diagonal, torch.SymInt) else diagonal or None)


@lowers("tril_indices.default", "triu_indices.default")
def triangle_indices(e: Emitter, rows: int, columns: int, offset: int = 0, **options: Any) -> Code:
    name = "tril_indices" if "tril" in str(e.node.target) else "triu_indices"
    made = e.runtime(name, e.size(rows), e.size(columns), offset=offset or None)
    return e.cast(made, torch.int64, e.out.dtype)


@lowers("as_strided.default", "as_strided_copy.default")
def as_strided(e: Emitter, x: Tensor, shape: list[Any], strides: list[Any], offset: Any = None) -> Code:
    stored, start = storage_order(x, shape, strides, offset)
    return call("mx.as_strided", stored, e.shape(shape), e.shape(strides), *([e.size(start)] if start != 0 else []))


def storage_order(x: Tensor, shape: list[Any], strides: list[Any], offset: Any) -> tuple[Code, Any]:
    """x with its axes in the order in which torch stores them, and where in that a view by strides begins.

    Raises:
        CaptureError: the view would show more than x.
    """
    base = x.value.storage_offset()
    start = 0 if offset is None else offset - base
    if not all(isinstance(each, int) for each in (*x.shape, *shape, *strides, start)):
        raise CaptureError("as_strided: of sizes that vary")
    order = sorted(range(x.ndim), key=lambda axis: (-x.value.stride()[axis], x.shape[axis] == 1))
    step, dense = 1, True
    for axis in reversed(order):
        dense &= x.shape[axis] == 1 or x.value.stride()[axis] == step
        step *= x.shape[axis]
    last = start + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if math.prod(shape) and (start < 0 or last >= step or not dense):
        raise CaptureError("as_strided: of a view, it shows elements of the tensor that this is a view of")
    return reordered(x, order), start
