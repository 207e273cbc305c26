"""Interpolation; images are (batch, *spatial, channels)."""

from __future__ import annotations

from typing import Any

from pytorch_to_mlx.capture.code import Code
from pytorch_to_mlx.capture.emitter import Emitter, Tensor
from pytorch_to_mlx.capture.operators.pooling import one_or_each
from pytorch_to_mlx.capture.operators.registry import spatial
from pytorch_to_mlx.errors import CaptureError

NEAREST = {"upsample_nearest": "nearest", "_upsample_nearest_exact": "nearest-exact"}
WEIGHTED = {
    "upsample_linear1d": "linear",
    "upsample_bilinear2d": "bilinear",
    "upsample_trilinear3d": "trilinear",
    "upsample_bicubic2d": "bicubic",
    "_upsample_bilinear2d_aa": "bilinear",
    "_upsample_bicubic2d_aa": "bicubic",
    "_upsample_lanczos2d_aa": "lanczos",
}


def _resized(e: Emitter, x: Tensor, size: Any, scales: Any, mode: str, **options: Any) -> Code:
    if mode not in NEAREST.values() and not x.is_floating:
        raise CaptureError(f"{e.node.target}: mode {mode!r} of {x.dtype} is not supported")
    # Torch takes the scale for coordinates even where it is told the size too.
    factor = None
    if scales is not None and any(scale is not None for scale in scales):
        plain = [int(scale) if isinstance(scale, float) and scale.is_integer() else scale for scale in scales]
        same = all(scale == plain[0] for scale in plain)
        factor = e.literal(plain[0] if same else tuple(plain), "scale_factor")
    given = [] if size is None else [one_or_each(e, size, "size")]
    named = None if mode == "nearest" else mode
    return e.runtime("interpolate", x, *given, scale_factor=factor, mode=named, **options)


def _nearest(rank: int, name: str, mode: str) -> None:
    @spatial(rank, f"{name}.vec")
    def of_factors(e: Emitter, x: Tensor, size: Any, scales: Any) -> Code:
        return _resized(e, x, size, scales, mode)

    @spatial(rank, f"{name}.default")
    def of_size(e: Emitter, x: Tensor, size: Any, *scales: Any) -> Code:
        return _resized(e, x, size, scales, mode)


def _weighted(rank: int, name: str, mode: str) -> None:
    antialias = True if name.endswith("_aa") else None

    @spatial(rank, f"{name}.vec")
    def of_factors(e: Emitter, x: Tensor, size: Any, align: bool, scales: Any) -> Code:
        return _resized(e, x, size, scales, mode, align_corners=align or None, antialias=antialias)

    @spatial(rank, f"{name}.default")
    def of_size(e: Emitter, x: Tensor, size: Any, align: bool, *scales: Any) -> Code:
        return _resized(e, x, size, scales, mode, align_corners=align or None, antialias=antialias)


for _rank in (1, 2, 3):
    for _name, _mode in NEAREST.items():
        _nearest(_rank, f"{_name}{_rank}d", _mode)
for _name, _mode in WEIGHTED.items():
    _weighted(1 if "1d" in _name else 2 if "2d" in _name else 3, _name, _mode)
