"""Causal convolutions over (batch, time, channels), which can go on where they stopped: a stream equals the whole.

Each sees as much before its input as its kernel reaches beyond its stride: padding, or in a stream what came before
(SEANet, arXiv:2009.02095; transformers/models/mimi, MimiConv1d).
"""

from __future__ import annotations

from functools import partial
from typing import Literal, Self

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.layers.convolution import Conv1d, ConvTranspose1d

PaddingMode = Literal["constant", "edge"]


class Stream:
    """The last inputs of one network's causal layers, for one batch that comes in pieces."""

    def __init__(self) -> None:
        self._last: dict[int, mx.array] = {}

    def __copy__(self) -> Self:
        """A stream that goes on by itself from here."""
        twin = object.__new__(type(self))
        twin.__dict__ |= self.__dict__ | {"_last": dict(self._last)}
        return twin

    def join(self, layer: nn.Module, x: mx.array, steps: int, padding_mode: PaddingMode = "constant") -> mx.array:
        """`x` (batch, time, channels) after the last `steps` that the layer was given, or padding in their place."""
        last = self._last.get(id(layer))
        x = _led(x, steps, padding_mode) if last is None else mx.concatenate([last, x], axis=1)
        self._last[id(layer)] = mx.contiguous(x[:, x.shape[1] - steps :])  # a view would keep all of x
        return x

    @property
    def arrays(self) -> list[mx.array]:
        """Everything held, to be evaluated with what was computed."""
        return list(self._last.values())


class CausalConv1d(Conv1d):
    """Output step t sees no input after (t + 1) * stride; there are ceil(time / stride) of them.

    Args:
        padding_mode: what stands for steps before the first and, where the stride asks for more, after the last: zeros
            or the nearest step.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "constant",
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, 0, dilation, groups, bias)
        self.context = dilation * (kernel_size - 1) + 1 - stride
        self.padding_mode: PaddingMode = padding_mode

    def __call__(self, x: mx.array, stream: Stream | None = None) -> mx.array:
        """(batch, time, in channels) to (batch, ceil(time / stride), out channels).

        In a stream, pieces are multiples of the stride, all but the last.
        """
        missing = -x.shape[1] % self.stride
        join = _led if stream is None else partial(stream.join, self)
        x = join(x, self.context, self.padding_mode)
        return super().__call__(mx.pad(x, [(0, 0), (0, missing), (0, 0)], self.padding_mode) if missing else x)


class CausalConvTranspose1d(ConvTranspose1d):
    """Transposed convolution without the steps at the end that later inputs would change."""

    def __call__(self, x: mx.array, stream: Stream | None = None) -> mx.array:
        """(batch, time, in channels) to (batch, time * stride, out channels)."""
        steps, first = x.shape[1] * self.stride, 0
        if stream is not None:
            overlap = -(-self.weight.shape[1] // self.stride) - 1  # inputs before that reach an output
            x, first = stream.join(self, x, overlap), overlap * self.stride
        return super().__call__(x)[:, first : first + steps]


def _led(x: mx.array, steps: int, padding_mode: PaddingMode) -> mx.array:
    return mx.pad(x, [(0, 0), (steps, 0), (0, 0)], padding_mode) if steps else x
