"""Several tensors to one, one to several, and one repeated."""

from __future__ import annotations

from itertools import combinations, combinations_with_replacement, pairwise
from typing import Any

from pytorch_to_mlx.capture.clean import same_size
from pytorch_to_mlx.capture.code import Code, as_code, call, item, method
from pytorch_to_mlx.capture.emitter import Emitter, Tensor
from pytorch_to_mlx.capture.operators.registry import lowers
from pytorch_to_mlx.capture.operators.shapes import at_axis, raised
from pytorch_to_mlx.errors import CaptureError


def joined(e: Emitter, codes: list[Any], tensors: list[Tensor], dim: int, function: str = "mx.concatenate") -> Code:
    """One tensor of several, in torch's dtype."""
    return e.as_result(call(function, as_code(codes), axis=None if dim == 0 else dim), *tensors)


@lowers("cat.default", "concat.default", "concatenate.default")
def concatenate(e: Emitter, tensors: list[Tensor], dim: int = 0) -> Code:
    # torch joins an empty vector to anything.
    full = [each for each in tensors if e.out.ndim == 1 or each.ndim != 1] or tensors[:1]
    if len(full) == 1:
        return e.as_result(full[0], full[0])
    return (
        e.as_result(joined(e, list(full), full, dim), *tensors)
        if len(full) < len(tensors)
        else joined(e, list(full), full, dim)
    )


@lowers("stack.default")
def stack(e: Emitter, tensors: list[Tensor], dim: int = 0) -> Code:
    return joined(e, list(tensors), tensors, dim, "mx.stack")


@lowers("hstack.default")
def hstack(e: Emitter, tensors: list[Tensor]) -> Code:
    return joined(e, [raised(each, 1) for each in tensors], tensors, 0 if e.out.ndim == 1 else 1)


@lowers("vstack.default")
def vstack(e: Emitter, tensors: list[Tensor]) -> Code:
    return joined(e, [raised(each, 2) for each in tensors], tensors, 0)


@lowers("dstack.default")
def dstack(e: Emitter, tensors: list[Tensor]) -> Code:
    return joined(e, [raised(each, 3) for each in tensors], tensors, 2)


@lowers("column_stack.default")
def column_stack(e: Emitter, tensors: list[Tensor]) -> Code:
    columns = [
        each if each.ndim > 1 else item(each, ":, None") if each.ndim else method(each, "reshape", 1, 1)
        for each in tensors
    ]
    return joined(e, columns, tensors, 1)


@lowers(
    "split.Tensor",
    "split.sizes",
    "split_with_sizes.default",
    "split_with_sizes_copy.default",
    "split_copy.Tensor",
    "chunk.default",
    "unsafe_split.Tensor",
    "unsafe_split_with_sizes.default",
    "unsafe_chunk.default",
    "tensor_split.sections",
    "tensor_split.indices",
    "tensor_split.tensor_indices_or_sections",
)
def split(e: Emitter, x: Tensor, sizes: Any, dim: int = 0) -> Any:
    if isinstance(sizes, Tensor):
        raise CaptureError("tensor_split: at indices of a tensor, on which the results' shapes depend")
    if "tensor_split.indices" in str(e.node.target):
        return between(e, x, sizes, dim)
    parts = [part.shape[dim] for part in e.out]
    if len(parts) == 1:
        return (x,)
    if all(same_size(part, parts[0]) for part in parts):
        return call("mx.split", x, len(parts), axis=None if dim == 0 else dim)
    ends: list[Any] = []
    for part in parts[:-1]:
        ends.append(part if not ends else ends[-1] + part)
    return call("mx.split", x, as_code([e.size(end) for end in ends]), axis=None if dim == 0 else dim)


def between(e: Emitter, x: Tensor, indices: list[Any], dim: int) -> Any:
    """The parts of x that begin and end at `indices`, in whatever order these are."""
    axis = x.axis(dim)
    ends = [None, *indices, None]
    texts = ["" if end is None else e.size(end).text for end in ends]
    return tuple(item(x, at_axis(x.ndim, axis, f"{start}:{end}")) for start, end in pairwise(texts))


@lowers("hsplit.int", "hsplit.array")
def hsplit(e: Emitter, x: Tensor, sizes: Any) -> Any:
    return _split_at(e, x, sizes, 0 if x.ndim == 1 else 1)


@lowers("vsplit.int", "vsplit.array")
def vsplit(e: Emitter, x: Tensor, sizes: Any) -> Any:
    return _split_at(e, x, sizes, 0)


@lowers("dsplit.int", "dsplit.array")
def dsplit(e: Emitter, x: Tensor, sizes: Any) -> Any:
    return _split_at(e, x, sizes, 2)


def _split_at(e: Emitter, x: Tensor, sizes: Any, dim: int) -> Any:
    return between(e, x, sizes, dim) if isinstance(sizes, list) else split(e, x, sizes, dim)


@lowers("unbind.int", "unbind_copy.int")
def unbind(e: Emitter, x: Tensor, dim: int = 0) -> Code:
    return x if x.axis(dim) == 0 else call("mx.moveaxis", x, dim, 0)


@lowers("repeat.default")
def repeat(e: Emitter, x: Tensor, times: list[Any]) -> Code:
    return _tiled(e, x, times)


@lowers("tile.default")
def tile(e: Emitter, x: Tensor, times: list[Any]) -> Code:
    return _tiled(e, x, times)


def _tiled(e: Emitter, x: Tensor, times: list[Any]) -> Code:
    if all(same_size(each, 1) for each in times) and len(times) <= x.ndim:
        return x
    return call("mx.tile", x, e.shape(times))


@lowers("repeat_interleave.self_int")
def repeat_each(e: Emitter, x: Tensor, times: Any, dim: Any = None, *, output_size: Any = None) -> Code:
    line = x if x.ndim else method(x, "flatten")
    return call("mx.repeat", line, e.size(times, "repeats"), axis=dim if x.ndim else None)


@lowers("repeat_interleave.self_Tensor")
def repeat_by(e: Emitter, x: Tensor, times: Tensor, dim: Any = None, *, output_size: Any = None) -> Code:
    if output_size is None:
        raise CaptureError("repeat_interleave: the result's shape depends on data; give it output_size")
    flat = x if dim is not None else method(x, "flatten")
    return e.runtime("repeat_interleave", flat, times, e.size(output_size), axis=0 if dim is None else dim)


@lowers("meshgrid.default", "meshgrid.indexing")
def meshgrid(e: Emitter, tensors: list[Tensor], *, indexing: str = "ij") -> Code:
    return call("mx.meshgrid", *tensors, indexing=indexing)


@lowers("block_diag.default")
def block_diag(e: Emitter, tensors: list[Tensor]) -> Code:
    return e.as_result(e.runtime("block_diag", *tensors), *tensors)


@lowers("cartesian_prod.default")
def cartesian_product(e: Emitter, tensors: list[Tensor]) -> Code:
    if len(tensors) == 1:
        return tensors[0]
    grid = call("mx.meshgrid", *tensors, indexing="ij")
    return method(call("mx.stack", grid, axis=-1), "reshape", -1, len(tensors))


@lowers("combinations.default")
def choose(e: Emitter, x: Tensor, count: int = 2, repeated: bool = False) -> Code:
    chosen = (combinations_with_replacement if repeated else combinations)(range(x.shape[0]), count)
    places = [list(each) for each in chosen]
    if not places or not count:
        return call("mx.zeros", e.shape(e.out.shape), dtype=e.dtype(e.out.dtype))
    return item(x, call("mx.array", places).text)
