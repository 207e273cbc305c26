"""Elements of images rearranged. Shuffles have channels last; windows as columns are in torch's own order."""

from __future__ import annotations

from typing import Any

from pytorch_to_mlx.capture.code import Code, as_code, method
from pytorch_to_mlx.capture.emitter import Emitter, Tensor
from pytorch_to_mlx.capture.operators.registry import lowers, spatial


@spatial(2, "pixel_shuffle.default")
def pixel_shuffle(e: Emitter, x: Tensor, factor: int) -> Code:
    return _shuffled(e, "pixel_shuffle", x, e.literal(factor, "upscale_factor"))


@spatial(2, "pixel_unshuffle.default")
def pixel_unshuffle(e: Emitter, x: Tensor, factor: int) -> Code:
    return _shuffled(e, "pixel_unshuffle", x, e.literal(factor, "downscale_factor"))


def _shuffled(e: Emitter, function: str, x: Tensor, factor: Code) -> Code:
    if x.ndim == 4:
        return e.runtime(function, x, factor)
    # Of several batch axes the second stands last, where an image of one has its channels.
    return method(e.runtime(function, method(x, "swapaxes", -4, -1), factor), "swapaxes", -4, -1)


@spatial(-1, "channel_shuffle.default", "native_channel_shuffle.default")
def channel_shuffle(e: Emitter, x: Tensor, groups: Any) -> Code:
    return e.runtime("channel_shuffle", x, e.size(groups, "groups"))


@lowers("im2col.default")
def im2col(
    e: Emitter, x: Tensor, kernel: list[int], dilation: list[int], padding: list[int], stride: list[int]
) -> Code:
    return e.runtime("im2col", x, _pair(e, kernel, "kernel_size"), **_options(e, dilation, padding, stride))


@lowers("col2im.default")
def col2im(
    e: Emitter,
    x: Tensor,
    size: list[Any],
    kernel: list[int],
    dilation: list[int],
    padding: list[int],
    stride: list[int],
) -> Code:
    sizes = e.shape(size), _pair(e, kernel, "kernel_size")
    return e.runtime("col2im", x, *sizes, **_options(e, dilation, padding, stride))


def _pair(e: Emitter, values: list[int], hint: str) -> Code:
    return as_code(tuple(e.literal(value, hint) for value in (values * 2 if len(values) == 1 else values)))


def _options(e: Emitter, dilation: list[int], padding: list[int], stride: list[int]) -> dict[str, Code | None]:
    plain = {"dilation": (dilation, 1), "padding": (padding, 0), "stride": (stride, 1)}
    return {
        name: None if all(value == default for value in values) else _pair(e, values, name)
        for name, (values, default) in plain.items()
    }
