"""Reshaping, slicing, joining, making."""

from __future__ import annotations

import sys
from typing import Any

import torch

from pytorch_to_mlx.capture.clean import same_size
from pytorch_to_mlx.capture.code import Code, as_code, call, item, method
from pytorch_to_mlx.capture.emitter import Emitter, Tensor
from pytorch_to_mlx.capture.operators.registry import lowers


@lowers("view.default", "reshape.default", "_unsafe_view.default", "view_as.default")
def reshape(e: Emitter, x: Tensor, shape: Any) -> Code:
    return method(x, "reshape", *e.shape_args(shape if isinstance(shape, list) else e.out.shape))


@lowers("flatten.using_ints")
def flatten(e: Emitter, x: Tensor, start: int, end: int) -> Code:
    return method(x, "flatten", start, end)


@lowers("unflatten.int")
def unflatten(e: Emitter, x: Tensor, dim: int, sizes: Any) -> Code:
    return call("mx.unflatten", x, dim, e.shape(sizes))


@lowers("permute.default")
def permute(e: Emitter, x: Tensor, dims: list[int]) -> Code:
    order = [x.axis(dim) for dim in dims]
    moved = [place for place, dim in enumerate(order) if place != dim]
    if len(moved) == 2:
        return method(x, "swapaxes", *moved)
    return method(x, "transpose", *order)


@lowers("transpose.int", "swapaxes.default", "swapdims.default")
def transpose(e: Emitter, x: Tensor, a: int, b: int) -> Code:
    return method(x, "swapaxes", a, b)


@lowers("t.default", "numpy_T.default", "mT.default")
def matrix_transpose(e: Emitter, x: Tensor) -> Code:
    return x if x.ndim < 2 else Code(f"{x.atom}.T") if x.ndim == 2 else method(x, "swapaxes", -1, -2)


@lowers("unsqueeze.default")
def unsqueeze(e: Emitter, x: Tensor, dim: int) -> Code:
    place = dim % (x.ndim + 1)
    if place == 0 and x.ndim:
        return item(x, "None")
    if place == x.ndim and x.ndim:
        return item(x, "..., None")
    if place == 1:
        return item(x, ":, None")
    return call("mx.expand_dims", x, place)


@lowers("squeeze.dim", "squeeze.dims", "squeeze.default")
def squeeze(e: Emitter, x: Tensor, dims: Any = None) -> Code:
    listed = range(x.ndim) if dims is None else dims if isinstance(dims, list) else [dims]
    gone = [dim for dim in listed if x.ndim and x.shape[dim] == 1]
    return x if not gone else method(x, "squeeze", gone[0] if len(gone) == 1 else tuple(gone))


@lowers("expand.default", "broadcast_to.default")
def expand(e: Emitter, x: Tensor, shape: Any, *rest: Any, **options: Any) -> Code:
    return call("mx.broadcast_to", x, e.shape(e.out.shape))


@lowers("repeat.default")
def repeat(e: Emitter, x: Tensor, times: list[Any]) -> Code:
    return call("mx.tile", x, e.shape(times))


@lowers("select.int")
def select(e: Emitter, x: Tensor, dim: int, index: Any) -> Code:
    axis = x.axis(dim)
    return item(x, _at(x.ndim, axis, e.size(index).text))


def _at(ndim: int, axis: int, text: str) -> str:
    """A subscript that has `text` at `axis`, and everything else."""
    if axis <= 2 or axis < ndim - 2:
        return ", ".join([":"] * axis + [text])
    return ", ".join(["...", text] + [":"] * (ndim - 1 - axis))


@lowers("slice.Tensor")
def slice_(e: Emitter, x: Tensor, dim: int, start: Any, end: Any, step: Any) -> Code:
    axis = x.axis(dim)
    size = x.shape[axis]
    first = "" if start is None or start is 0 or same_size(start, 0) else e.size(start).text  # noqa: F632
    unbounded = end is None or same_size(end, size) or (isinstance(end, int) and end >= sys.maxsize)
    if not unbounded and isinstance(end, int) and isinstance(size, int) and end >= size:
        unbounded = True
    last = "" if unbounded else e.size(end).text
    stride = "" if step == 1 else f":{e.size(step).text}"
    return item(x, _at(x.ndim, axis, f"{first}:{last}{stride}"))


@lowers("cat.default", "concat.default")
def concatenate(e: Emitter, tensors: list[Tensor], dim: int = 0) -> Code:
    full = [each for each in tensors if not (each.ndim == 1 and each.shape[0] == 0 and e.out.ndim != 1)]
    return e.as_result(call("mx.concatenate", as_code(full), axis=None if dim == 0 else dim), *full)


@lowers("stack.default")
def stack(e: Emitter, tensors: list[Tensor], dim: int = 0) -> Code:
    return e.as_result(call("mx.stack", as_code(tensors), axis=None if dim == 0 else dim), *tensors)


@lowers("split.Tensor", "chunk.default", "split_with_sizes.default", "tensor_split.sections", "unsafe_split.Tensor")
def split(e: Emitter, x: Tensor, sizes: Any, dim: int = 0) -> Code:
    parts = [part.shape[dim] for part in e.out]
    if all(same_size(part, parts[0]) for part in parts):
        return call("mx.split", x, len(parts), axis=None if dim == 0 else dim)
    ends: list[Any] = []
    for part in parts[:-1]:
        ends.append(part if not ends else ends[-1] + part)
    return call("mx.split", x, as_code([e.size(end) for end in ends]), axis=None if dim == 0 else dim)


@lowers("unbind.int")
def unbind(e: Emitter, x: Tensor, dim: int = 0) -> Code:
    if x.axis(dim) == 0:
        return x
    return call("mx.moveaxis", x, dim, 0)


@lowers("arange.default")
def arange(e: Emitter, end: Any, **options: Any) -> Code:
    return call("mx.arange", e.literal(end), dtype=_other_than(e, end))


@lowers("arange.start")
def arange_from(e: Emitter, start: Any, end: Any, **options: Any) -> Code:
    return call("mx.arange", e.literal(start), e.literal(end), dtype=_other_than(e, start, end))


@lowers("arange.start_step")
def arange_by(e: Emitter, start: Any, end: Any, step: Any = 1, **options: Any) -> Code:
    return call("mx.arange", e.literal(start), e.literal(end), e.literal(step), dtype=_other_than(e, start, end, step))


def _other_than(e: Emitter, *numbers: Any) -> Code | None:
    return e.dtype(e.out.dtype)


@lowers("full.default", "full_like.default", "new_full.default")
def full(e: Emitter, first: Any, *rest: Any, **options: Any) -> Code:
    value = rest[-1]
    return call("mx.full", e.shape(e.out.shape), e.literal(value), dtype=e.dtype(e.out.dtype))


@lowers(
    "zeros.default",
    "zeros_like.default",
    "new_zeros.default",
    "empty.memory_format",
    "empty_like.default",
    "new_empty.default",
)
def zeros(e: Emitter, *rest: Any, **options: Any) -> Code:
    return call("mx.zeros", e.shape(e.out.shape), dtype=None if e.out.dtype == torch.float32 else e.dtype(e.out.dtype))


@lowers("ones.default", "ones_like.default", "new_ones.default")
def ones(e: Emitter, *rest: Any, **options: Any) -> Code:
    return call("mx.ones", e.shape(e.out.shape), dtype=None if e.out.dtype == torch.float32 else e.dtype(e.out.dtype))


@lowers("scalar_tensor.default")
def scalar(e: Emitter, value: Any, **options: Any) -> Code:
    return call("mx.array", e.literal(value), dtype=e.dtype(e.out.dtype))


@lowers("tril.default", "triu.default")
def triangle(e: Emitter, x: Tensor, diagonal: int = 0) -> Code:
    name = "mx.tril" if "tril" in str(e.node.target) else "mx.triu"
    return call(name, x, k=diagonal or None)


@lowers("gather.default")
def gather(e: Emitter, x: Tensor, dim: int, index: Tensor, **options: Any) -> Code:
    return e.runtime("gather", x, index, axis=dim)


@lowers("index_select.default")
def index_select(e: Emitter, x: Tensor, dim: int, index: Tensor) -> Code:
    return call("mx.take", x, index, axis=dim)


@lowers("index.Tensor")
def index(e: Emitter, x: Tensor, indices: list[Tensor | None]) -> Code:
    parts = [":" if each is None else each.text for each in indices]
    return item(x, ", ".join(parts))


@lowers("embedding.default")
def embedding(e: Emitter, weight: Tensor, indices: Tensor, *rest: Any) -> Code:
    return item(weight, indices.text)


@lowers("copy.default")
def copy(e: Emitter, x: Tensor, source: Tensor, *rest: Any) -> Code:
    plain = e.cast(source, source.dtype, e.out.dtype)
    return plain if source.shape == x.shape else call("mx.broadcast_to", plain, e.shape(e.out.shape))
