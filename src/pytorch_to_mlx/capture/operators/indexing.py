"""Reading and writing elements by index."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from pytorch_to_mlx.capture.clean import operator_name
from pytorch_to_mlx.capture.code import Code, as_code, binary, call, item, method
from pytorch_to_mlx.capture.emitter import Emitter, Tensor
from pytorch_to_mlx.capture.operators.diagonals import storage_order
from pytorch_to_mlx.capture.operators.registry import lowers, missing
from pytorch_to_mlx.capture.operators.shapes import bounds
from pytorch_to_mlx.errors import CaptureError

MASKS = (torch.bool, torch.uint8)
NO_STATIC_SHAPE = "arrays whose shape depends on data"

missing(
    NO_STATIC_SHAPE,
    "masked_select.default",
    "nonzero.default",
    "nonzero_numpy.default",
    "argwhere.default",
    "_unique.default",
    "_unique2.default",
    "unique_dim.default",
    "unique_consecutive.default",
    "unique_dim_consecutive.default",
    "bincount.default",
)


@lowers("gather.default")
def gather(e: Emitter, x: Tensor, dim: int, index: Tensor, **options: Any) -> Code:
    return e.runtime("gather", x, index, axis=dim)


@lowers("take_along_dim.default")
def take_along_dim(e: Emitter, x: Tensor, index: Tensor, dim: int | None = None) -> Code:
    if dim is None:
        return call("mx.take", x, method(index, "flatten"))
    return call("mx.take_along_axis", x, index, axis=dim)


@lowers("take.default")
def take(e: Emitter, x: Tensor, index: Tensor) -> Code:
    return call("mx.take", x, index)


@lowers("index_select.default")
def index_select(e: Emitter, x: Tensor, dim: int, index: Tensor) -> Code:
    if not x.ndim:
        return call("mx.broadcast_to", x, e.shape(e.out.shape)) if e.out.ndim else x
    line = index if index.ndim else method(index, "flatten")
    return call("mx.take", x, line, axis=dim)


def takes_mask(node: fx.Node) -> bool:
    """Whether this picks elements by a mask, so that its shape depends on data."""
    if operator_name(node) not in ("aten.index.Tensor", "aten._unsafe_index.Tensor"):
        return False
    return any(isinstance(each, fx.Node) and each.meta["val"].dtype in MASKS for each in node.args[1])  # type: ignore[union-attr]


@lowers("index.Tensor", "_unsafe_index.Tensor")
def index(e: Emitter, x: Tensor, indices: list[Tensor | None]) -> Code:
    parts = [":" if each is None else each.text for each in indices]
    while parts and parts[-1] == ":":
        parts.pop()
    return item(x, ", ".join(parts)) if parts else x


@lowers("_unsafe_masked_index.default")
def index_where(e: Emitter, x: Tensor, mask: Tensor, indices: list[Tensor | None], fill: Any) -> Code:
    size = iter(x.shape)
    parts = []
    for each in indices:
        length = next(size)
        parts.append(":" if each is None else call("mx.clip", each, 0, e.size(length - 1)).text)
    return e.cast(call("mx.where", mask, item(x, ", ".join(parts)), e.literal(fill)), x.dtype, e.out.dtype)


@lowers("index_put.default", "_unsafe_index_put.default")
def index_put(e: Emitter, x: Tensor, indices: list[Tensor | None], values: Tensor, accumulate: bool = False) -> Code:
    more = {"accumulate": True} if accumulate else {}
    given = [each for each in indices if each is not None]
    masks = [each for each in given if each.dtype in MASKS]
    if not masks:
        index = as_code(tuple(Code("slice(None)") if each is None else each for each in indices))
        return e.runtime("index_put", x, index, values, **more)
    if len(given) == 1:
        (mask,) = masks
        truth = e.cast(mask, mask.dtype, torch.bool)
        if values.ndim == 0 or all(size == 1 for size in values.shape):
            one = values if values.ndim == 0 else method(values, "reshape", ())
            before = indices.index(mask)
            after = x.ndim - before - mask.ndim
            seen = item(truth, ", ".join(["...", *["None"] * after])) if after else truth
            kept = e.cast(one, values.dtype, x.dtype)
            return call("mx.where", seen, binary("+", x, kept) if accumulate else kept, x)
        if indices[0] is mask:
            return e.runtime("mask_put", x, truth, values, **more)
    raise CaptureError(f"index_put: of a mask among other indices; MLX has no {NO_STATIC_SHAPE}")


@lowers("index_fill.int_Scalar", "index_fill.int_Tensor")
def index_fill(e: Emitter, x: Tensor, dim: int, index: Tensor, value: Any) -> Code:
    return e.runtime("index_fill", x, dim, index, value if isinstance(value, Tensor) else e.literal(value))


@lowers("index_copy.default")
def index_copy(e: Emitter, x: Tensor, dim: int, index: Tensor, source: Tensor) -> Code:
    if not x.ndim:
        return method(source, "reshape", ())
    return e.runtime("index_put", x, _at(x, dim, index), source)


@lowers("index_add.default")
def index_add(e: Emitter, x: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Code:
    if e.out.dtype == torch.bool and alpha == 0:
        return x
    scaled = source if alpha in (1, True) else binary("*", e.literal(alpha, "alpha"), source)
    if not x.ndim:
        total = call("mx.sum", scaled) if source.ndim else scaled
        return Code(
            f"{x.atom} | ({total.text}).astype(mx.bool_)" if x.dtype == torch.bool else f"{x.atom} + {total}", 6
        )
    return e.runtime("index_put", x, _at(x, dim, index), scaled, accumulate=True)


def _at(x: Tensor, dim: int, index: Tensor) -> Code:
    line = index if index.ndim else method(index, "flatten")
    return as_code((*[Code("slice(None)")] * x.axis(dim), line))


@lowers("put.default")
def put(e: Emitter, x: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Code:
    return e.runtime("put", x, index, source, accumulate=True if accumulate else None)


@lowers("masked_scatter.default")
def masked_scatter(e: Emitter, x: Tensor, mask: Tensor, source: Tensor) -> Code:
    return e.runtime("masked_scatter", x, mask, source)


@lowers("nonzero_static.default")
def nonzero_static(e: Emitter, x: Tensor, *, size: int, fill_value: int = -1) -> Code:
    return e.runtime("nonzero_static", x, e.size(size), e.literal(fill_value))


@lowers("embedding.default")
def embedding(e: Emitter, weight: Tensor, indices: Tensor, *rest: Any) -> Code:
    return item(weight, indices.text)


@lowers("embedding_renorm.default")
def embedding_renorm(e: Emitter, weight: Tensor, indices: Tensor, max_norm: float, order: float) -> Code:
    return e.runtime("embedding_renorm", weight, indices, e.literal(max_norm, "max_norm"), e.literal(order, "ord"))


@lowers("one_hot.default")
def one_hot(e: Emitter, x: Tensor, classes: int = -1) -> Code:
    if classes == -1:
        raise CaptureError(f"one_hot: without a number of classes; MLX has no {NO_STATIC_SHAPE}")
    return e.runtime("one_hot", x, e.size(classes, "classes"))


@lowers("select_scatter.default")
def select_scatter(e: Emitter, x: Tensor, source: Tensor, dim: int, index: Any) -> Code:
    return e.runtime("select_scatter", x, source, axis=dim, index=e.size(index))


@lowers("slice_scatter.default")
def slice_scatter(
    e: Emitter, x: Tensor, source: Tensor, dim: int = 0, start: Any = None, end: Any = None, step: Any = 1
) -> Code:
    texts = bounds(e, x.shape[dim], start, end, step)
    if texts == ["", ""]:
        return e.cast(source, source.dtype, e.out.dtype)
    chosen = f"slice({', '.join(text or 'None' for text in texts)})"
    return e.runtime("select_scatter", x, source, axis=dim, index=Code(chosen))


@lowers("diagonal_scatter.default")
def diagonal_scatter(e: Emitter, x: Tensor, source: Tensor, offset: int, first: int, second: int) -> Code:
    named = {} if (first, second) == (0, 1) else {"axis1": first, "axis2": second}
    return e.runtime("diagonal_scatter", x, source, offset=offset or None, **named)


@lowers("as_strided_scatter.default")
def as_strided_scatter(
    e: Emitter, x: Tensor, source: Tensor, shape: list[Any], strides: list[Any], offset: Any = None
) -> Code:
    stored, start = storage_order(x, shape, strides, offset)
    if stored.text != x.text:
        raise CaptureError("as_strided_scatter: into a view")
    return e.runtime("as_strided_scatter", x, source, e.shape(shape), e.shape(strides), *([start] if start else []))
