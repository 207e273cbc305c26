"""Views: reshaping, order of axes, slices, expansion."""

from __future__ import annotations

import sys
from typing import Any

import torch

from pytorch_to_mlx.capture.clean import same_shape, same_size
from pytorch_to_mlx.capture.code import Code, attribute, call, item, method
from pytorch_to_mlx.capture.emitter import Emitter, Tensor
from pytorch_to_mlx.capture.operators.registry import lowers, missing
from pytorch_to_mlx.errors import CaptureError


@lowers(
    "view.default",
    "reshape.default",
    "_unsafe_view.default",
    "view_as.default",
    "reshape_as.default",
    "view_copy.default",
)
def reshape(e: Emitter, x: Tensor, shape: Any) -> Code:
    sizes = e.shape_args(shape if isinstance(shape, list) else e.out.shape)
    return method(x, "reshape", *sizes) if sizes else method(x, "reshape", ())


@lowers("view.dtype", "view_copy.dtype")
def reinterpret(e: Emitter, x: Tensor, dtype: torch.dtype) -> Code:
    if torch.float64 in (x.dtype, dtype) or torch.complex128 in (x.dtype, dtype):
        raise CaptureError("view.dtype: reads the bytes of 64-bit floating-point numbers, which MLX does not have")
    return method(x, "view", e.dtype(dtype))


@lowers("flatten.using_ints")
def flatten(e: Emitter, x: Tensor, start: int, end: int) -> Code:
    first, last = x.axis(start), x.axis(end)
    if first == last and x.ndim:
        return x
    whole = last >= x.ndim - 1
    return method(x, "flatten", *(() if whole and first == 0 else (start,) if whole else (start, end)))


@lowers("ravel.default")
def ravel(e: Emitter, x: Tensor) -> Code:
    return x if x.ndim == 1 else method(x, "flatten")


@lowers("unflatten.int")
def unflatten(e: Emitter, x: Tensor, dim: int, sizes: Any) -> Code:
    return call("mx.unflatten", x, dim, e.shape(sizes))


@lowers("permute.default", "permute_copy.default")
def permute(e: Emitter, x: Tensor, dims: list[int]) -> Code:
    return reordered(x, [x.axis(dim) for dim in dims])


def reordered(x: Tensor, order: list[int]) -> Code:
    """x with its axes in `order`."""
    moved = [place for place, dim in enumerate(order) if place != dim]
    if not moved:
        return x
    if len(moved) == 2:
        return method(x, "swapaxes", *moved)
    return method(x, "transpose", *order)


@lowers("movedim.intlist", "movedim.int", "moveaxis.intlist", "moveaxis.int")
def move(e: Emitter, x: Tensor, source: Any, destination: Any) -> Code:
    before, after = [each if isinstance(each, list) else [each] for each in (source, destination)]
    if len(before) == 1 and x.ndim and x.axis(before[0]) != x.axis(after[0]):
        return call("mx.moveaxis", x, before[0], after[0])
    moved = {x.axis(to): x.axis(of) for of, to in zip(before, after, strict=True)}
    rest = iter([axis for axis in range(x.ndim) if axis not in moved.values()])
    return reordered(x, [moved[axis] if axis in moved else next(rest) for axis in range(x.ndim)])


@lowers("transpose.int", "transpose_copy.int", "swapaxes.default", "swapdims.default")
def transpose(e: Emitter, x: Tensor, a: int, b: int) -> Code:
    if x.axis(a) == x.axis(b):
        return x
    return method(x, "swapaxes", a, b)


@lowers("t.default", "t_copy.default", "numpy_T.default")
def reverse_axes(e: Emitter, x: Tensor) -> Code:
    return x if x.ndim < 2 else attribute(x, "T")


@lowers("mT.default", "mH.default", "matrix_H.default", "adjoint.default")
def matrix_transpose(e: Emitter, x: Tensor) -> Code:
    turned = x if x.ndim < 2 else attribute(x, "T") if x.ndim == 2 else method(x, "swapaxes", -1, -2)
    return call("mx.conj", turned) if x.dtype.is_complex and "mT" not in str(e.node.target) else turned


@lowers("unsqueeze.default", "unsqueeze_copy.default")
def unsqueeze(e: Emitter, x: Tensor, dim: int) -> Code:
    place = dim % (x.ndim + 1)
    if place == 0 and x.ndim:
        return item(x, "None")
    if place == 1 and x.ndim:
        return item(x, ":, None")
    if place == x.ndim and x.ndim:
        return item(x, "..., None")
    return call("mx.expand_dims", x, place)


@lowers(
    "squeeze.dim", "squeeze.dims", "squeeze.default", "squeeze_copy.dim", "squeeze_copy.dims", "squeeze_copy.default"
)
def squeeze(e: Emitter, x: Tensor, dims: Any = None) -> Code:
    listed = range(x.ndim) if dims is None else dims if isinstance(dims, list) else [dims]
    gone = [dim for dim in listed if x.ndim and same_size(x.shape[dim], 1)]
    if not gone and x.ndim - e.out.ndim == len(listed):  # torch found a symbolic size to be one
        gone = list(listed)
    return x if not gone else method(x, "squeeze", gone[0] if len(gone) == 1 else tuple(gone))


@lowers("expand.default", "expand_copy.default", "broadcast_to.default", "expand_as.default")
def expand(e: Emitter, x: Tensor, *rest: Any, **options: Any) -> Code:
    return x if same_shape(x.shape, e.out.shape) else call("mx.broadcast_to", x, e.shape(e.out.shape))


@lowers("broadcast_tensors.default")
def broadcast(e: Emitter, tensors: list[Tensor]) -> Code:
    return call("mx.broadcast_arrays", *tensors)


@lowers("atleast_1d.default", "atleast_2d.default", "atleast_3d.default")
def at_least(e: Emitter, x: Tensor) -> Code:
    return raised(x, e.out.ndim) if x.ndim < e.out.ndim else x


@lowers("atleast_1d.Sequence", "atleast_2d.Sequence", "atleast_3d.Sequence")
def each_at_least(e: Emitter, tensors: list[Tensor]) -> tuple[Code, ...]:
    return tuple(raised(x, out.ndim) if x.ndim < out.ndim else x for x, out in zip(tensors, e.out, strict=True))


def raised(x: Tensor, ndim: int) -> Code:
    """x with at least `ndim` axes, where `torch.atleast_1d` and the others put them."""
    return x if x.ndim >= ndim else call(f"mx.atleast_{ndim}d", x)


@lowers("select.int", "select_copy.int")
def select(e: Emitter, x: Tensor, dim: int, index: Any) -> Code:
    axis = x.axis(dim)
    return item(x, at_axis(x.ndim, axis, e.size(index).text))


def at_axis(ndim: int, axis: int, text: str) -> str:
    """A subscript that has `text` at `axis`, and everything else."""
    if axis == ndim - 1 > 1:
        return f"..., {text}"
    if axis <= 2 or axis < ndim - 2:
        return ", ".join([":"] * axis + [text])
    return ", ".join(["...", text] + [":"] * (ndim - 1 - axis))


@lowers("slice.Tensor", "slice_copy.Tensor")
def slice_(e: Emitter, x: Tensor, dim: int, start: Any, end: Any, step: Any) -> Code:
    axis = x.axis(dim)
    return item(x, at_axis(x.ndim, axis, ":".join(bounds(e, x.shape[axis], start, end, step))))


def bounds(e: Emitter, size: Any, start: Any, end: Any, step: Any) -> list[str]:
    """Start and end of a slice, then its step unless that is 1; "" where it goes to the end."""
    first = "" if start is None or same_size(start, 0) else e.size(start).text
    unbounded = end is None or same_size(end, size) or (isinstance(end, int) and end >= sys.maxsize)
    if not unbounded and isinstance(end, int) and isinstance(size, int) and end >= size:
        unbounded = True
    last = "" if unbounded else e.size(end).text
    return [first, last] if step == 1 else [first, last, e.size(step).text]


@lowers("narrow.default", "narrow_copy.default")
def narrow(e: Emitter, x: Tensor, dim: int, start: Any, length: Any) -> Code:
    axis = x.axis(dim)
    begin = start + x.shape[axis] if isinstance(start, int) and start < 0 else start
    return slice_(e, x, dim, begin, begin + length, 1)


@lowers("unfold.default", "unfold_copy.default")
def unfold(e: Emitter, x: Tensor, dim: int, size: Any, step: Any) -> Code:
    return e.runtime("unfold", x, axis=dim, size=e.size(size), step=e.size(step))


@lowers("flip.default")
def flip(e: Emitter, x: Tensor, dims: list[int]) -> Code:
    return flipped(x, dims) if dims and x.ndim else x


def flipped(x: Code, dims: list[int]) -> Code:
    """x backwards along `dims`."""
    return call("mx.flip", x, axis=dims[0] if len(dims) == 1 else tuple(dims))


@lowers("fliplr.default")
def flip_columns(e: Emitter, x: Tensor) -> Code:
    return flipped(x, [1])


@lowers("flipud.default")
def flip_rows(e: Emitter, x: Tensor) -> Code:
    return flipped(x, [0])


@lowers("rot90.default")
def rotate(e: Emitter, x: Tensor, k: int, dims: list[int]) -> Code:
    first, second = dims
    if k % 4 == 2:
        return flipped(x, dims)
    if k % 4 == 0:
        return x
    return method(flipped(x, [second if k % 4 == 1 else first]), "swapaxes", first, second)


@lowers("roll.default")
def roll(e: Emitter, x: Tensor, shifts: list[Any], dims: list[int]) -> Code:
    if not x.ndim:
        return x
    moved = [e.size(shift, "shift") for shift in shifts]
    axes = dims[0] if len(dims) == 1 else tuple(dims)
    return call("mx.roll", x, moved[0] if len(moved) == 1 else tuple(moved), *([axes] if dims else []))


@lowers("type_as.default")
def type_as(e: Emitter, x: Tensor, other: Tensor) -> Code:
    return e.cast(x, x.dtype, e.out.dtype)


@lowers("alias.default", "alias_copy.default", "clone.default", "detach.default", "detach_copy.default")
@lowers("contiguous.default", "lift_fresh.default", "lift_fresh_copy.default", "resolve_neg.default")
def same(e: Emitter, x: Tensor, *rest: Any, **options: Any) -> Code:
    return x


@lowers("to.device", "to.other", "to.prim_Device", "to.prim_dtype", "to.prim_other")
def convert(e: Emitter, x: Tensor, *rest: Any, **options: Any) -> Code:
    return e.cast(x, x.dtype, e.out.dtype)


@lowers("copy.default")
def copy(e: Emitter, x: Tensor, source: Tensor, *rest: Any) -> Code:
    plain = e.cast(source, source.dtype, e.out.dtype)
    return plain if same_shape(source.shape, x.shape) else call("mx.broadcast_to", plain, e.shape(e.out.shape))


missing("sparse arrays", "to_sparse.default", "to_sparse.sparse_dim", "_to_sparse.default", "_to_sparse.sparse_dim")
missing("sparse arrays", "sparse_sampled_addmm.default", "_sparse_mm_reduce_impl.default")
missing("arrays that are seen in another size than they were made in", "resize.default")
