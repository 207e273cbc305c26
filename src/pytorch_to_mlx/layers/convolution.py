"""Convolutions over (batch, time, channels) and (batch, height, width, channels), parameters as in mlx.nn.

On the Linux CPU backend they are lowered to matrix products where that is faster than MLX's own (benchmarks/layers.py):
dilated 20 to 110 times, transposed 50 to 115, depthwise 4 to 8. Elsewhere they are MLX's own. Half precision is
computed in float32 there, since its matrix products are slower than float32's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.layers.device import linux_cpu

UNFOLDED = 2**19  # elements of an unfolded input that are cheap to copy


class Conv1d(nn.Conv1d):
    """mlx.nn.Conv1d with a lowering."""

    def __call__(self, x: mx.array) -> mx.array:
        """(batch, time, in channels) to (batch, out time, out channels)."""
        bias = self.bias if "bias" in self else None
        return conv1d(x, self.weight, bias, self.stride, self.padding, self.dilation, self.groups)


class ConvTranspose1d(nn.Module):
    """Transposed convolution; `weight` is (out channels, kernel size, in channels / groups), as in mlx.nn."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        output_padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        scale = (in_channels * kernel_size) ** -0.5
        self.weight = mx.random.uniform(-scale, scale, (out_channels, kernel_size, in_channels // groups))
        if bias:
            self.bias = mx.zeros(out_channels)
        self.stride = stride
        self.padding = padding
        self.output_padding = output_padding
        self.dilation = dilation
        self.groups = groups

    def __call__(self, x: mx.array) -> mx.array:
        """(batch, time, in channels) to (batch, out time, out channels)."""
        if self.dilation == 1 and self.groups == 1 and linux_cpu():
            y = _in_float32(_transposed, x, self.weight, self.stride, self.padding, self.output_padding)
        else:
            y = mx.conv_transpose1d(
                x, self.weight, self.stride, self.padding, self.dilation, self.output_padding, self.groups
            )
        return y + self.bias if "bias" in self else y


class Conv2d(nn.Conv2d):
    """mlx.nn.Conv2d: no lowering that was tried gains more than a third on 3 x 3 kernels."""


def conv1d(
    x: mx.array,
    weight: mx.array,
    bias: mx.array | None = None,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> mx.array:
    """Convolution of (batch, time, channels) with (out channels, kernel size, channels / groups).

    Raises:
        ValueError: the padded input is shorter than the kernel.
    """
    depthwise = groups == x.shape[-1] == weight.shape[0] > 1
    if not linux_cpu() or not (groups == 1 or depthwise):
        y = mx.conv1d(x, weight, stride, padding, dilation, groups)
        return y if bias is None else y + bias
    reach = dilation * (weight.shape[1] - 1) + 1
    if x.shape[1] + 2 * padding < reach:
        raise ValueError(f"{x.shape[1]} steps, padded by {padding} on both sides, are fewer than the kernel's {reach}")
    if padding:
        x = mx.pad(x, [(0, 0), (padding, padding), (0, 0)])
    bias = mx.zeros(weight.shape[0], weight.dtype) if bias is None else bias
    return _in_float32(_depthwise if depthwise else _dense, x, weight, bias, stride, dilation)


def _in_float32(lowering: Callable[..., mx.array], x: mx.array, weight: mx.array, *rest: Any) -> mx.array:
    wide = [each.astype(mx.float32) if isinstance(each, mx.array) else each for each in (x, weight, *rest)]
    return lowering(*wide).astype(mx.result_type(x, weight))


def _dense(x: mx.array, weight: mx.array, bias: mx.array, stride: int, dilation: int) -> mx.array:
    """A product for each tap of the kernel, added up; where it is small beside the result, one of the unfolded input.

    Nothing larger than the result is ever held.
    """
    batch, length, channels = x.shape
    outputs, taps, _ = weight.shape
    if stride > 1 and dilation == 1 and taps % stride == 0:  # of strides side by side, no step is read twice
        strides = length // stride
        x = x[:, : strides * stride].reshape(batch, strides, stride * channels)
        return _dense(x, weight.reshape(outputs, taps // stride, stride * channels), bias, 1, 1)
    count = (length - dilation * (taps - 1) - 1) // stride + 1
    if batch * count * taps * channels <= UNFOLDED or 3 * channels <= outputs:
        steps = (length * channels, stride * channels, dilation * channels, 1)
        unfolded = mx.as_strided(mx.contiguous(x), (batch, count, taps, channels), steps)
        return mx.addmm(bias, unfolded.reshape(batch, count, -1), weight.reshape(outputs, -1).T)
    y = bias
    for tap in range(taps):
        start = tap * dilation
        y = mx.addmm(y, x[:, start : start + (count - 1) * stride + 1 : stride], _of_tap(weight, tap))
    return y


def _of_tap(weight: mx.array, tap: int) -> mx.array:
    """(in channels, out channels), copied by rows: left to itself, a product copies transposed slices by elements."""
    return mx.contiguous(weight[:, tap]).T


@partial(mx.compile, shapeless=True)
def _add_products(y: mx.array, a: mx.array, b: mx.array, p: mx.array, q: mx.array) -> mx.array:
    return y + (a * p + b * q)  # two at a time: one costs 1.4 times as much, eight three times


def _depthwise(x: mx.array, weight: mx.array, bias: mx.array, stride: int, dilation: int) -> mx.array:
    """Shifted inputs, scaled and added up."""
    taps = weight.shape[1]
    count = (x.shape[1] - dilation * (taps - 1) - 1) // stride + 1
    shifted = [x[:, tap * dilation : tap * dilation + (count - 1) * stride + 1 : stride] for tap in range(taps)]
    scales = mx.contiguous(weight[:, :, 0].T)
    y = bias + shifted[0] * scales[0] if taps % 2 else mx.broadcast_to(bias, shifted[0].shape)
    for tap in range(taps % 2, taps, 2):
        y = _add_products(y, shifted[tap], shifted[tap + 1], scales[tap], scales[tap + 1])
    return y


def _transposed(x: mx.array, weight: mx.array, stride: int, padding: int, output_padding: int) -> mx.array:
    """Each phase of the output, one of `stride` positions, is a convolution of its own; they are interleaved."""
    batch, length, _ = x.shape
    outputs, taps, _ = weight.shape
    overlap = -(-taps // stride)  # products that reach one output
    count = length + overlap - 1
    x = mx.pad(x, [(0, 0), (overlap - 1, overlap - 1), (0, 0)])
    phases = []
    for phase in range(stride):
        y = mx.zeros(outputs)
        for late, tap in enumerate(range(phase, taps, stride)):
            start = overlap - 1 - late
            y = mx.addmm(y, x[:, start : start + count], _of_tap(weight, tap))
        phases.append(mx.broadcast_to(y, (batch, count, outputs)))  # a phase without taps is zero
    y = mx.concatenate(phases, axis=-1).reshape(batch, count * stride, outputs)
    end = (length - 1) * stride + taps - padding + output_padding
    if end > y.shape[1]:
        y = mx.pad(y, [(0, 0), (0, end - y.shape[1]), (0, 0)])
    return y[:, padding:end]
