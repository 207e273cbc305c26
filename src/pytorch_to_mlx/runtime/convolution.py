"""Convolutions over (batch, *spatial, channels)."""

from __future__ import annotations

import mlx.core as mx

from pytorch_to_mlx.layers import convolution


def conv1d(
    x: mx.array,
    weight: mx.array,
    stride: int | tuple[int] = 1,
    padding: int | tuple[int] = 0,
    dilation: int | tuple[int] = 1,
    groups: int = 1,
) -> mx.array:
    """`torch.nn.functional.conv1d` of (batch, time, channels) with (out channels, kernel, channels / groups)."""
    return convolution.conv1d(x, weight, None, _first(stride), _first(padding), _first(dilation), groups)


def conv_transpose1d(
    x: mx.array,
    weight: mx.array,
    stride: int | tuple[int] = 1,
    padding: int | tuple[int] = 0,
    dilation: int | tuple[int] = 1,
    output_padding: int | tuple[int] = 0,
    groups: int = 1,
) -> mx.array:
    """`torch.nn.functional.conv_transpose1d` of (batch, time, channels) with (out / groups, kernel, channels)."""
    sizes = _first(stride), _first(padding), _first(dilation), _first(output_padding)
    return mx.conv_transpose1d(x, _regrouped(weight, groups), *sizes, groups)


def conv_transpose2d(
    x: mx.array,
    weight: mx.array,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    output_padding: int | tuple[int, int] = 0,
    groups: int = 1,
) -> mx.array:
    """`torch.nn.functional.conv_transpose2d` of (batch, h, w, channels) with (out / groups, kh, kw, channels)."""
    return mx.conv_transpose2d(x, _regrouped(weight, groups), stride, padding, dilation, output_padding, groups)


def conv_transpose3d(
    x: mx.array,
    weight: mx.array,
    stride: int | tuple[int, int, int] = 1,
    padding: int | tuple[int, int, int] = 0,
    dilation: int | tuple[int, int, int] = 1,
    output_padding: int | tuple[int, int, int] = 0,
    groups: int = 1,
) -> mx.array:
    """`torch.nn.functional.conv_transpose3d` of (batch, d, h, w, channels); weights (out / groups, kd, kh, kw, in)."""
    # MLX's own leaves the output padding out.
    kernel = [step * (size - 1) for step, size in zip(_three(dilation), weight.shape[1:4], strict=True)]
    before = [reach - pad for reach, pad in zip(kernel, _three(padding), strict=True)]
    after = [reach + more for reach, more in zip(before, _three(output_padding), strict=True)]
    parts = zip(mx.split(x, groups, axis=-1), mx.split(weight, groups, axis=-1), strict=True)
    return mx.concatenate(  # MLX has no groups in 3d
        [
            mx.conv_general(
                part,
                w,
                padding=(before, after),
                kernel_dilation=_three(dilation),
                input_dilation=_three(stride),
                flip=True,
            )
            for part, w in parts
        ],
        axis=-1,
    )


def conv3d(
    x: mx.array,
    weight: mx.array,
    stride: int | tuple[int, int, int] = 1,
    padding: int | tuple[int, int, int] = 0,
    dilation: int | tuple[int, int, int] = 1,
    groups: int = 1,
) -> mx.array:
    """`torch.nn.functional.conv3d` of (batch, d, h, w, channels); weights (out, kd, kh, kw, channels / groups)."""
    if groups == 1:
        return mx.conv3d(x, weight, stride, padding, dilation)
    parts = zip(mx.split(x, groups, axis=-1), mx.split(weight, groups), strict=True)
    return mx.concatenate([mx.conv3d(part, w, stride, padding, dilation) for part, w in parts], axis=-1)


def _three(value: int | tuple[int, int, int]) -> list[int]:
    return [value] * 3 if isinstance(value, int) else list(value)


def _first(value: int | tuple[int]) -> int:
    return value[0] if isinstance(value, tuple) else value


def _regrouped(weight: mx.array, groups: int) -> mx.array:
    """(out / groups, *kernel, in) as MLX has it: (out, *kernel, in / groups)."""
    if groups == 1:
        return weight
    outputs, *kernel, inputs = weight.shape
    parts = mx.moveaxis(weight.reshape(outputs, *kernel, groups, inputs // groups), -2, 0)
    return parts.reshape(groups * outputs, *kernel, inputs // groups)
