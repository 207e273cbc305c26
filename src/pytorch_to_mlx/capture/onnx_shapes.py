"""ONNX's operators on shapes and places: views, joining, indexing, making."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch

from pytorch_to_mlx.capture.onnx_operators import given, host, is_host, numbers, onnx, to_tensor
from pytorch_to_mlx.errors import CaptureError


@onnx("Shape")
def shape(node: Any, x: Any) -> Any:
    return host(list(x.shape)[node.attributes.get("start", 0) : node.attributes.get("end")])


@onnx("Size")
def size(node: Any, x: Any) -> Any:
    return host(x.size if is_host(x) else x.numel())


@onnx("Reshape")
def reshape(node: Any, x: Any, sizes: Any = None) -> Any:
    wanted = given(node, "shape", sizes)
    if not node.attributes.get("allowzero"):
        wanted = [x.shape[place] if _is_zero(each) else each for place, each in enumerate(wanted)]
    return x.reshape(wanted)


def _is_zero(each: Any) -> bool:
    return isinstance(each, int) and each == 0


@onnx("Flatten")
def flatten(node: Any, x: Any) -> Any:
    axis = node.attributes.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    if axis == 1 and not is_host(x) and x.ndim > 1:
        return torch.flatten(x, 1)
    before = 1
    for each in x.shape[:axis]:
        before = before * each
    return x.reshape(before, -1)


@onnx("Transpose")
def transpose(node: Any, x: Any) -> Any:
    order = node.attributes.get("perm", list(range(x.ndim))[::-1])
    return x.transpose(order) if is_host(x) else x.permute(order)


@onnx("Squeeze")
def squeeze(node: Any, x: Any, axes: Any = None) -> Any:
    listed = given(node, "axes", axes)
    if is_host(x):
        return x.reshape(()) if x.size == 1 else x
    return x.squeeze() if listed is None else x.squeeze(listed[0]) if len(listed) == 1 else x.squeeze(tuple(listed))


@onnx("Unsqueeze")
def unsqueeze(node: Any, x: Any, axes: Any = None) -> Any:
    listed = given(node, "axes", axes)
    rank = x.ndim + len(listed)
    for axis in sorted(axis % rank for axis in listed):
        x = np.expand_dims(x, axis) if is_host(x) else x.unsqueeze(axis)
    return x


@onnx("Concat")
def concat(node: Any, *inputs: Any) -> Any:
    axis = node.attributes.get("axis", 1)
    if all(map(is_host, inputs)):
        return np.concatenate(inputs, axis)
    return torch.cat([to_tensor(each) for each in inputs], axis)


@onnx("Split")
def split(node: Any, x: Any, sizes: Any = None) -> Any:
    axis, listed = node.attributes.get("axis", 0), given(node, "split", sizes)
    if listed is None:
        each = -(-x.shape[axis] // len(node.outputs))
        listed = each
    if is_host(x):
        places = list(itertools.accumulate(listed))[:-1] if isinstance(listed, list) else len(node.outputs)
        return list(np.split(x, places, axis))
    return list(torch.split(x, listed, axis))


@onnx("Slice")
def slice_(node: Any, x: Any, *rest: Any) -> Any:
    starts, ends, axes, steps = (
        given(node, name, value)
        for name, value in zip(("starts", "ends", "axes", "steps"), (*rest, *(None,) * (4 - len(rest))), strict=True)
    )
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = (slice(None),) * (axis % x.ndim)
        if is_host(x):
            x = x[(*place, slice(start, _python_end(start, end, step, x.shape[axis]), step))]
        elif step > 0:
            x = x[(*place, slice(_bound(start), _bound(end), step))]
        else:
            x = _backwards(x, axis, start, end, step)
    return x


def _bound(each: Any) -> Any:
    """ONNX's files say 2^63 - 1, or 2^31 - 1, for the end."""
    return None if isinstance(each, int) and each >= 2**31 - 1 else each


def _python_end(start: Any, end: Any, step: int, length: Any) -> Any:
    if step > 0:
        return _bound(end)
    return None if isinstance(end, int) and end < -length else end


def _backwards(x: torch.Tensor, axis: int, start: Any, end: Any, step: int) -> torch.Tensor:
    length = x.shape[axis]
    first = min(start if start >= 0 else start + length, length - 1)
    last = max(end if end >= 0 else end + length, -1)
    flipped = torch.flip(x, [axis])
    place = (slice(None),) * (axis % x.ndim)
    return flipped[(*place, slice(length - 1 - first, length - 1 - last, -step))]


@onnx("Gather")
def gather(node: Any, x: Any, indices: Any) -> Any:
    axis = node.attributes.get("axis", 0)
    if is_host(x) and is_host(indices):
        taken = np.take(x, np.array(indices.tolist(), dtype=np.int64), axis)
        return taken if isinstance(taken, np.ndarray) else host(taken)
    x = to_tensor(x)
    if is_host(indices) and indices.size == 1 and indices.ndim == 0:
        return x.select(axis, indices.item())
    indices = to_tensor(indices).long()
    if indices.ndim == 1:
        return torch.index_select(x, axis, torch.where(indices < 0, indices + x.shape[axis], indices))
    if axis == 0 and x.ndim == 2:
        return torch.nn.functional.embedding(torch.where(indices < 0, indices + x.shape[0], indices), x)
    return x[(*(slice(None),) * (axis % x.ndim), indices)]


@onnx("GatherElements")
def gather_elements(node: Any, x: Any, indices: Any) -> Any:
    axis, indices = node.attributes.get("axis", 0), to_tensor(indices)
    return torch.gather(x, axis, torch.where(indices < 0, indices + x.shape[axis], indices))


@onnx("GatherND")
def gather_nd(node: Any, x: Any, indices: Any) -> Any:
    indices, batch = to_tensor(indices), node.attributes.get("batch_dims", 0)
    if batch:
        raise CaptureError("batch_dims is not known")
    return to_tensor(x)[tuple(indices.unbind(-1))]


@onnx("ScatterElements", "Scatter")
def scatter_elements(node: Any, x: Any, indices: Any, updates: Any) -> Any:
    axis, how = node.attributes.get("axis", 0), node.attributes.get("reduction", "none")
    indices = to_tensor(indices)
    indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    if how == "none":
        return x.scatter(axis, indices, updates)
    names = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}
    return x.scatter_reduce(axis, indices, updates, names[how])


@onnx("ScatterND")
def scatter_nd(node: Any, x: Any, indices: Any, updates: Any) -> Any:
    how = node.attributes.get("reduction", "none")
    if how not in ("none", "add"):
        raise CaptureError(f"reduction={how} is not known")
    places = tuple(to_tensor(indices).unbind(-1))
    return torch.index_put(to_tensor(x), places, to_tensor(updates), accumulate=how == "add")


@onnx("Expand")
def expand(node: Any, x: Any, sizes: Any) -> Any:
    wanted = numbers(sizes)
    if is_host(x) and x.ndim + len(wanted) <= 2 and all(isinstance(each, int) for each in wanted):
        return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(wanted)))
    x = to_tensor(x)
    rank = max(x.ndim, len(wanted))
    have = [1] * (rank - x.ndim) + list(x.shape)
    wanted = [1] * (rank - len(wanted)) + wanted
    return x.expand([a if isinstance(b, int) and b == 1 else b for a, b in zip(have, wanted, strict=True)])


@onnx("Tile")
def tile(node: Any, x: Any, repeats: Any) -> Any:
    return np.tile(x, numbers(repeats)) if is_host(x) else x.repeat(numbers(repeats))


@onnx("ConstantOfShape")
def constant_of_shape(node: Any, sizes: Any) -> Any:
    value = node.attributes.get("value", np.zeros(1, np.float32))
    wanted = numbers(sizes)
    whole = value.dtype.kind in "iub" and len(wanted) <= 1
    if whole and all(isinstance(each, int) and each <= 64 for each in wanted):
        return host([value.item()] * wanted[0]) if wanted else host(value.item())
    return torch.full(wanted, value.item(), dtype=torch.from_numpy(np.array(value)).dtype)


@onnx("Range")
def range_(node: Any, start: Any, end: Any, step: Any) -> Any:
    first, last, by = (each.item() if is_host(each) else each for each in (start, end, step))
    return torch.arange(first, last, by)


@onnx("EyeLike")
def eye_like(node: Any, x: Any) -> Any:
    rows, columns = x.shape
    ones = torch.ones(rows, columns, dtype=x.dtype)
    k = node.attributes.get("k", 0)
    return ones.tril(k).triu(k)


@onnx("Trilu")
def trilu(node: Any, x: Any, k: Any = None) -> Any:
    place = numbers(k)[0] if k is not None else 0
    return torch.triu(x, place) if node.attributes.get("upper", 1) else torch.tril(x, place)


@onnx("OneHot")
def one_hot(node: Any, indices: Any, depth: Any, values: Any) -> Any:
    off, on = (each.item() if is_host(values) else each for each in values)
    count, axis = numbers(depth)[0], node.attributes.get("axis", -1)
    indices = to_tensor(indices)
    hot = torch.remainder(indices, count).unsqueeze(-1) == torch.arange(count)
    y = torch.where(hot, on, off)
    return y if axis in (-1, indices.ndim) else y.movedim(-1, axis)


@onnx("NonZero")
def non_zero(node: Any, x: Any) -> Any:
    return to_tensor(x).nonzero().T


@onnx("ReverseSequence", "Unique", "Compress")
def depends_on_data(node: Any, *inputs: Any) -> Any:
    raise CaptureError("shapes that depend on data cannot be captured")


@onnx("Loop", "Scan")
def loop(node: Any, *inputs: Any) -> Any:
    raise CaptureError("loops within a graph cannot be captured")


@onnx("DepthToSpace")
def depth_to_space(node: Any, x: Any) -> Any:
    b, (n, c, h, w) = node.attributes["blocksize"], x.shape
    if node.attributes.get("mode", "DCR") == "CRD":
        return torch.pixel_shuffle(x, b)
    y = x.reshape(n, b, b, c // (b * b), h, w).permute(0, 3, 4, 1, 5, 2)
    return y.reshape(n, c // (b * b), h * b, w * b)


@onnx("SpaceToDepth")
def space_to_depth(node: Any, x: Any) -> Any:
    b, (n, c, h, w) = node.attributes["blocksize"], x.shape
    y = x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4)
    return y.reshape(n, c * b * b, h // b, w // b)
