"""Sampling of images, which are (batch, *spatial, channels), at places that a grid gives."""

from __future__ import annotations

from typing import Any

from pytorch_to_mlx.capture.code import Code
from pytorch_to_mlx.capture.emitter import Emitter, Tensor
from pytorch_to_mlx.capture.operators.registry import lowers, spatial

MODES = ("bilinear", "nearest", "bicubic")
PADDING = ("zeros", "border", "reflection")


@spatial(-1, "grid_sampler.default", "grid_sampler_2d.default", "grid_sampler_3d.default")
def grid_sampler(e: Emitter, x: Tensor, grid: Tensor, mode: int, padding: int, align: bool) -> Code:
    options = {
        "mode": MODES[mode] if mode else None,
        "padding_mode": PADDING[padding] if padding else None,
        "align_corners": align or None,
    }
    return e.runtime("grid_sample", x, grid, **options)


@lowers("affine_grid_generator.default")
def affine_grid(e: Emitter, theta: Tensor, size: list[Any], align: bool) -> Code:
    return e.runtime("affine_grid", theta, e.shape(size[2:]), align_corners=align or None)
