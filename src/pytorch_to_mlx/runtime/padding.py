"""Padding by what MLX's own `mx.pad` has no mode for, and by widths that may crop."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.runtime.resize import take


def pad(x: mx.array, widths: Sequence[tuple[int, int]], mode: str = "constant", value: float = 0) -> mx.array:
    """x with more at its ends, or less, as `torch.nn.functional.pad`.

    Args:
        widths: for each axis how many elements stand before and after; negative numbers crop.
        mode: "constant", "reflect", "replicate" or "circular".
        value: of the elements added in mode "constant".
    """
    if mode == "constant":
        kept = tuple(slice(max(0, -a), n - max(0, -b)) for n, (a, b) in zip(x.shape, widths, strict=True))
        added = [(max(0, a), max(0, b)) for a, b in widths]
        return mx.pad(x[kept], added, constant_values=mx.array(value, x.dtype))
    for axis, (before, after) in enumerate(widths):
        if before or after:
            places = np.arange(-before, x.shape[axis] + after)
            x = take(x, _source(places, x.shape[axis], before, after, mode), axis)
    return x


def _source(places: np.ndarray, size: int, before: int, after: int, mode: str) -> np.ndarray:
    """Where padding has its values from."""
    if mode == "replicate":
        return np.clip(places, 0, size - 1)
    if mode == "circular":
        start, end = max(0, -before), size - max(0, -after)  # what is cropped does not come back at the other end
        return start + (places - start) % (end - start)
    if mode != "reflect":
        raise ValueError(f"mode {mode!r} is not known")
    return (size - 1) - np.abs((size - 1) - np.abs(places))
