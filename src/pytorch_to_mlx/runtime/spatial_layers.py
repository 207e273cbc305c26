"""Modules without parameters on images and sequences, where mlx.nn has none that fits: (batch, *spatial, channels)."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.runtime.pooling import Sizes, avg_pool, max_pool
from pytorch_to_mlx.runtime.rearranging import pixel_shuffle, pixel_unshuffle
from pytorch_to_mlx.runtime.resize import interpolate


class MaxPool(nn.Module):
    """`max_pool` as a layer: `torch.nn.MaxPool1d`, `MaxPool2d` and `MaxPool3d` with dilation or ceil_mode."""

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self._options = (kernel_size, stride, padding, dilation, ceil_mode)

    def __call__(self, x: mx.array) -> mx.array:
        """(batch, *spatial, channels) to the same with fewer elements."""
        return max_pool(x, *self._options)


class AvgPool(nn.Module):
    """`avg_pool` as a layer: `torch.nn.AvgPool1d`, `AvgPool2d` and `AvgPool3d` with all their options."""

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self._options = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)

    def __call__(self, x: mx.array) -> mx.array:
        """(batch, *spatial, channels) to the same with fewer elements."""
        return avg_pool(x, *self._options)


class Upsample(nn.Module):
    """`interpolate` by a factor as a layer: `torch.nn.Upsample`."""

    def __init__(
        self, scale_factor: float | tuple[float, ...], mode: str = "nearest", align_corners: bool = False
    ) -> None:
        super().__init__()
        self.scale_factor, self.mode, self.align_corners = scale_factor, mode, align_corners

    def __call__(self, x: mx.array) -> mx.array:
        """(batch, *spatial, channels) to the same at another size."""
        return interpolate(x, None, self.scale_factor, self.mode, self.align_corners)


class PixelShuffle(nn.Module):
    """`pixel_shuffle` as a layer: `torch.nn.PixelShuffle`."""

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor

    def __call__(self, x: mx.array) -> mx.array:
        """(batch, height, width, channels · r²) to (batch, height · r, width · r, channels)."""
        return pixel_shuffle(x, self.upscale_factor)


class PixelUnshuffle(nn.Module):
    """`pixel_unshuffle` as a layer: `torch.nn.PixelUnshuffle`."""

    def __init__(self, downscale_factor: int) -> None:
        super().__init__()
        self.downscale_factor = downscale_factor

    def __call__(self, x: mx.array) -> mx.array:
        """(batch, height · r, width · r, channels) to (batch, height, width, channels · r²)."""
        return pixel_unshuffle(x, self.downscale_factor)
