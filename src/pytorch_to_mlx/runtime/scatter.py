"""Writing many elements to places that an array of indices names, with what becomes of several for one place."""

from __future__ import annotations

import mlx.core as mx

from pytorch_to_mlx.runtime.indexing import scatters

REDUCTIONS = {"add": "add", "sum": "add", "mean": "add", "multiply": "multiply", "prod": "multiply"}
REDUCTIONS |= {"amax": "maximum", "amin": "minimum"}


def scatter(
    x: mx.array,
    index: mx.array,
    source: mx.array | float,
    axis: int,
    reduce: str | None = None,
    include_self: bool = True,
) -> mx.array:
    """x with elements of `source` at the places along `axis` that `index` names, as `torch.scatter_reduce`.

    Args:
        index: of as many axes as x, none but `axis` longer than in x.
        source: a number, or an array none of whose axes is shorter than that of `index`.
        reduce: what becomes of the elements for one place: "sum", "mean", "prod", "amax" or "amin"; None for any one of
            them, as `torch.scatter`.
        include_self: whether the element of x is one of them.
    """
    if index.size == 0:
        return x
    if x.ndim == 0:
        whole = source.reshape(-1) if isinstance(source, mx.array) else source
        return scatter(x[None], index.reshape(-1), whole, 0, reduce, include_self).squeeze(0)
    if index.ndim == 0:
        index = index[None]
        source = source.reshape(-1) if isinstance(source, mx.array) else source
    places = _places(index, axis % x.ndim)
    if isinstance(source, mx.array):
        source = source[tuple(slice(size) for size in index.shape)].astype(x.dtype)
    else:
        source = mx.full(index.shape, source, x.dtype)
    with scatters(x):
        if reduce is None:
            y = mx.array(x)
            y[places] = source
            return y
        start = x if include_self else _emptied(x, places, reduce)
        y = getattr(start.at[places], REDUCTIONS[reduce])(source)
        return _mean(y, places, index, include_self) if reduce == "mean" else y


def index_reduce(
    x: mx.array, axis: int, index: mx.array, source: mx.array, reduce: str, include_self: bool = True
) -> mx.array:
    """x with slices of `source` at `index` of `axis`, as `torch.index_reduce`; see `scatter`."""
    if x.ndim == 0:
        return scatter(x, index, source, 0, reduce, include_self)
    shape = [1] * x.ndim
    shape[axis] = -1
    return scatter(x, mx.broadcast_to(index.reshape(shape), source.shape), source, axis, reduce, include_self)


def _places(index: mx.array, axis: int) -> tuple[mx.array, ...]:
    """For each axis the places of the elements of `index`, which along `axis` are what it says."""
    return tuple(
        index if place == axis else mx.arange(size).reshape([-1 if each == place else 1 for each in range(index.ndim)])
        for place, size in enumerate(index.shape)
    )


def _emptied(x: mx.array, places: tuple[mx.array, ...], reduce: str) -> mx.array:
    """x with what changes nothing at `places`."""
    y = mx.array(x)
    if reduce in ("amax", "amin"):
        if mx.issubdtype(x.dtype, mx.floating):
            y[places] = -mx.inf if reduce == "amax" else mx.inf
        elif x.dtype == mx.bool_:
            y[places] = reduce == "amin"
        else:
            limits = mx.iinfo(x.dtype)
            y[places] = mx.array(limits.min if reduce == "amax" else limits.max, x.dtype)
    else:
        y[places] = mx.array(REDUCTIONS[reduce] == "multiply", x.dtype)
    return y


def _mean(total: mx.array, places: tuple[mx.array, ...], index: mx.array, include_self: bool) -> mx.array:
    ones = mx.full(index.shape, 1, mx.int32)
    count = mx.full(total.shape, int(include_self), mx.int32).at[places].add(ones)
    count = mx.maximum(count, 1).astype(total.dtype)
    return total / count if mx.issubdtype(total.dtype, mx.inexact) else total // count


def embedding_renorm(weight: mx.array, index: mx.array, max_norm: float, ord: float = 2.0) -> mx.array:
    """`weight`, whose rows named by `index` are shortened to `max_norm`, as `torch.nn.functional.embedding` does."""
    named = mx.zeros((weight.shape[0],), mx.int32).at[index.reshape(-1)].add(mx.array(1, mx.int32)) > 0
    norm = mx.linalg.norm(weight, ord, axis=-1)
    factor = mx.where(named & (norm > max_norm), max_norm / (norm + 1e-7), mx.ones((), weight.dtype))
    return weight * factor[:, None]


def embedding_bag(
    weight: mx.array,
    index: mx.array,
    offsets: mx.array,
    mode: str = "mean",
    per_sample_weights: mx.array | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> mx.array:
    """Sums, means or maxima of bags of rows of `weight`, as `torch.nn.functional.embedding_bag`.

    Args:
        weight: (rows, width).
        index: (n,): the rows of all bags, one bag after another.
        offsets: (bags,): where each bag begins in `index`; and where the last one ends, if `include_last_offset`.
        mode: "sum", "mean" or "max".
        per_sample_weights: (n,), by which rows are multiplied.
        padding_idx: a row that counts for nothing.

    Returns:
        (bags, width); 0 for an empty bag.
    """
    bags = offsets.shape[0] - int(include_last_offset)
    offsets = offsets.astype(mx.int32)
    bag = mx.searchsorted(offsets, mx.arange(index.shape[0]), side="right").astype(mx.int32) - 1
    counts = (bag >= 0) & (bag < bags)
    if padding_idx is not None:
        counts = counts & (index != padding_idx)
    bag = mx.where(counts, bag, bags)  # one bag more, for what counts for nothing
    rows = weight[index]
    if per_sample_weights is not None:
        rows = rows * per_sample_weights[:, None]
    if mode == "max":
        empty = mx.full((bags + 1, weight.shape[1]), -mx.inf, weight.dtype)
        largest = empty.at[bag].maximum(rows)
        return mx.where(mx.isneginf(largest), mx.zeros((), weight.dtype), largest)[:bags]
    total = mx.zeros((bags + 1, weight.shape[1]), weight.dtype).at[bag].add(rows)[:bags]
    if mode == "sum":
        return total
    size = mx.zeros((bags + 1,), mx.int32).at[bag].add(mx.ones(bag.shape, mx.int32))[:bags]
    return total / mx.maximum(size, 1).astype(weight.dtype)[:, None]
