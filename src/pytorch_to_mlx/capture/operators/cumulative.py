"""Sums, products and extrema so far along an axis."""

from __future__ import annotations

import torch

from pytorch_to_mlx.capture.code import Code, call
from pytorch_to_mlx.capture.emitter import Emitter, Tensor
from pytorch_to_mlx.capture.operators.registry import lowers


def _cumulative(function: str, *names: str) -> None:
    @lowers(*names)
    def lower(e: Emitter, x: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Code:
        wide = e.cast(x, x.dtype, e.out.dtype)
        return wide if x.ndim == 0 else call(function, wide, axis=dim)


_cumulative("mx.cumsum", "cumsum.default")
_cumulative("mx.cumprod", "cumprod.default")
_cumulative("mx.logcumsumexp", "logcumsumexp.default")


def _extremum(name: str) -> None:
    @lowers(f"{name}.default")
    def lower(e: Emitter, x: Tensor, dim: int) -> Code | tuple[Code, Code]:
        if x.ndim == 0:
            return x, call("mx.zeros", e.shape([]), dtype=Code("mx.int64"))
        if not e.uses(1):
            return call(f"mx.{name}", x, axis=dim), Code("None")
        return e.runtime(name, x, axis=dim)


_extremum("cummax")
_extremum("cummin")
