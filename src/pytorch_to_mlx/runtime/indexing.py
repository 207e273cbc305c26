"""Reading and writing elements by index."""

from __future__ import annotations

import mlx.core as mx


def gather(x: mx.array, index: mx.array, axis: int) -> mx.array:
    """What `index` says of x along `axis`, as `torch.gather`: other axes of x may be longer than those of `index`."""
    axis %= x.ndim
    corner = tuple(slice(None) if place == axis else slice(size) for place, size in enumerate(index.shape))
    return mx.take_along_axis(x[corner], index, axis=axis)
