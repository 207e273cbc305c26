"""PerthNet: the watermark is a residual of a log-magnitude spectrogram, and a decoder tells whether it is there.

Source: perth/perth_net/perth_net_implicit/model/{__init__,encoder,decoder}.py; names as there.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from pytorch_to_mlx.layers.convolution import Conv1d
from pytorch_to_mlx.parity import tap

HIDDEN = 256
# Only the bins up to 2 kHz, of 1025 up to 16 kHz, carry the watermark.
SUBBAND = 128
# Frames computed at once, 60 s, and how many the five wide convolutions reach on each side.
BLOCK = 6000
REACH = 15
# The decoder listens at three speeds, each a factor of the number of frames: it also knows stretched recordings.
SPEEDS = {"slow_layers": 1.25, "normal_layers": 1.0, "fast_layers": 0.75}


class Conv(nn.Module):
    """A convolution that keeps the length, and a leaky ReLU unless it is the last."""

    def __init__(self, inputs: int, outputs: int, kernel: int, last: bool = False) -> None:
        super().__init__()
        self.conv = Conv1d(inputs, outputs, kernel, padding=(kernel - 1) // 2)
        self.last = last

    def __call__(self, x: mx.array) -> mx.array:
        """(batch, frames, inputs) to (batch, frames, outputs)."""
        x = self.conv(x)
        return x if self.last else mx.maximum(x, 0.01 * x)


def _layers(outputs: int) -> list[Conv]:
    inner = [Conv(HIDDEN, HIDDEN, 7) for _ in range(5)]
    return [Conv(SUBBAND, HIDDEN, 1), *inner, Conv(HIDDEN, outputs, 1, last=True)]


def _through(layers: list[Conv], x: mx.array) -> mx.array:
    """`x` through the layers in their own precision; float32 out.

    Long recordings go in blocks with what the layers see around them, so that memory is bounded.
    """
    x = x.astype(layers[0].conv.weight.dtype)
    blocks = []
    for start in range(0, x.shape[1], BLOCK):
        before = max(0, start - REACH)
        block = x[:, before : start + BLOCK + REACH]
        for layer in layers:
            block = layer(block)
        blocks.append(block[:, start - before : start - before + BLOCK].astype(mx.float32))
        mx.eval(blocks[-1])
    return mx.concatenate(blocks, axis=1)


class Encoder(nn.Module):
    """What to add to a spectrogram."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = _layers(SUBBAND)

    def __call__(self, subband: mx.array, mask: mx.array) -> mx.array:
        """The lowest 128 bins in normalised decibels (batch, frames, 128), and which frames count (batch, frames), to
        the residual of the same bins."""
        return _through(self.layers, subband) * mask[..., None]


class Decoder(nn.Module):
    """How sure it is that a spectrogram carries the watermark."""

    def __init__(self) -> None:
        super().__init__()
        self.slow_layers = _layers(2)
        self.normal_layers = _layers(2)
        self.fast_layers = _layers(2)

    def __call__(self, subband: mx.array, mask: mx.array) -> mx.array:
        """Arguments as the encoder's; returns (batch,), about 1 with the watermark and 0 without. Not a number where
        no frame counts."""
        frames = subband.shape[1]
        branches = []
        for name, speed in SPEEDS.items():
            length = int(frames * speed)
            out = _through(self[name], subband if speed == 1 else _linear(subband, length))
            branches.append(_masked_mean(out, mask[:, _nearest(frames, length)]))
        attention, confidence = mx.moveaxis(tap("branches", mx.stack(branches)), -1, 0)
        return (confidence * mx.softmax(attention, axis=0)).sum(axis=0)


class Perth(nn.Module):
    """Encoder and decoder; `watermarker.PerthWatermarker` brings audio to them."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder()


def _masked_mean(x: mx.array, mask: mx.array) -> mx.array:
    """(batch, frames, channels) to (batch, channels)."""
    return (x * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)


def _linear(x: mx.array, length: int) -> mx.array:
    """The second axis interpolated to `length`, ends kept. Positions are float32 as upstream's: at a thousand frames
    they are off by 1e-4 of a frame, and so must ours be."""
    last = x.shape[1] - 1
    step = np.float32(last) / np.float32(length - 1) if length > 1 else np.float32(0)
    position = step * np.arange(length, dtype=np.float32)
    before = np.minimum(position.astype(np.int32), last)
    after = np.minimum(before + 1, last)
    weight = mx.array(position - before)[:, None]
    return x[:, mx.array(before)] * (1 - weight) + x[:, mx.array(after)] * weight


def _nearest(frames: int, length: int) -> mx.array:
    """Which of `frames` is the nearest before each of `length` positions."""
    step = np.float32(frames) / np.float32(length)
    return mx.array(np.minimum((np.arange(length, dtype=np.float32) * step).astype(np.int32), frames - 1))
