"""CAM++: residual convolutions over the spectrum, densely connected TDNN layers with context-aware masks, statistics.

As chatterbox/models/s3gen/xvector.py has it.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from pytorch_to_mlx.audio.kaldi import fbank
from pytorch_to_mlx.errors import AudioError
from pytorch_to_mlx.layers.convolution import Conv1d, Conv2d
from pytorch_to_mlx.layers.elementwise import sigmoid
from pytorch_to_mlx.layers.normalization import BatchNorm
from pytorch_to_mlx.parity import tap

MELS = 80
MAPS = 32  # of the residual part
GROWTH, BOTTLENECK = 32, 128
BLOCKS = ((12, 1), (24, 2), (16, 2))  # layers, dilation
SIZE = 192
SEGMENT = 100
"""Frames that share a mask."""
LEAST_FRAMES = 3  # two after the convolution that halves their rate, so that something can vary


class ResBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut; a stride halves the frequencies."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.conv1 = Conv2d(MAPS, MAPS, 3, stride=(stride, 1), padding=1, bias=False)
        self.bn1 = BatchNorm(MAPS)
        self.conv2 = Conv2d(MAPS, MAPS, 3, padding=1, bias=False)
        self.bn2 = BatchNorm(MAPS)
        self.shortcut = []
        if stride != 1:
            self.shortcut = [Conv2d(MAPS, MAPS, 1, stride=(stride, 1), bias=False), BatchNorm(MAPS)]

    def __call__(self, x: mx.array) -> mx.array:
        y = self.bn2(self.conv2(nn.relu(self.bn1(self.conv1(x)))))
        for layer in self.shortcut:
            x = layer(x)
        return nn.relu(y + x)


class FCM(nn.Module):
    """The residual part: 80 bands become 10."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = Conv2d(1, MAPS, 3, padding=1, bias=False)
        self.bn1 = BatchNorm(MAPS)
        self.layer1 = [ResBlock(2), ResBlock(1)]
        self.layer2 = [ResBlock(2), ResBlock(1)]
        self.conv2 = Conv2d(MAPS, MAPS, 3, stride=(2, 1), padding=1, bias=False)
        self.bn2 = BatchNorm(MAPS)

    def __call__(self, features: mx.array) -> mx.array:
        """(batch, frames, 80) to (batch, frames, 320): the channels of a map lie together."""
        x = nn.relu(self.bn1(self.conv1(features.swapaxes(1, 2)[..., None])))
        for block in (*self.layer1, *self.layer2):
            x = block(x)
        x = nn.relu(self.bn2(self.conv2(x)))
        return x.transpose(0, 2, 3, 1).reshape(x.shape[0], x.shape[2], -1)


class Nonlinear(nn.Module):
    """Batch norm, and ReLU where it has a scale of its own."""

    def __init__(self, channels: int, *, affine: bool = True) -> None:
        super().__init__()
        self.batchnorm = BatchNorm(channels, affine=affine)
        self._relu = affine

    def __call__(self, x: mx.array) -> mx.array:
        x = self.batchnorm(x)
        return nn.relu(x) if self._relu else x


class CAMLayer(nn.Module):
    """A convolution, masked by what the whole recording and the segment of 100 frames are like."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.linear_local = Conv1d(BOTTLENECK, GROWTH, 3, padding=dilation, dilation=dilation, bias=False)
        self.linear1 = nn.Linear(BOTTLENECK, BOTTLENECK // 2)
        self.linear2 = nn.Linear(BOTTLENECK // 2, GROWTH)

    def __call__(self, x: mx.array) -> mx.array:
        context = x.mean(axis=1, keepdims=True) + _segment_means(x)
        masks = sigmoid(self.linear2(nn.relu(self.linear1(context))))
        return self.linear_local(x) * mx.repeat(masks, SEGMENT, axis=1)[:, : x.shape[1]]


def _segment_means(x: mx.array) -> mx.array:
    """(batch, frames, channels) to (batch, ceil(frames / 100), channels); the last segment may be shorter."""
    batch, frames, channels = x.shape
    whole = frames // SEGMENT * SEGMENT
    means = x[:, :whole].reshape(batch, -1, SEGMENT, channels).mean(axis=2)
    return means if whole == frames else mx.concatenate([means, x[:, whole:].mean(axis=1, keepdims=True)], axis=1)


class DenseTDNNLayer(nn.Module):
    """A bottleneck and a masked convolution: 32 more channels."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.nonlinear1 = Nonlinear(channels)
        self.linear1 = nn.Linear(channels, BOTTLENECK, bias=False)
        self.nonlinear2 = Nonlinear(BOTTLENECK)
        self.cam_layer = CAMLayer(dilation)

    def __call__(self, x: mx.array) -> mx.array:
        return self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x))))


class DenseTDNNBlock(nn.Module):
    """Layers each of which sees what all before it gave."""

    def __init__(self, layers: int, channels: int, dilation: int) -> None:
        super().__init__()
        for i in range(layers):
            self[f"tdnnd{i + 1}"] = DenseTDNNLayer(channels + i * GROWTH, dilation)

    def __call__(self, x: mx.array) -> mx.array:
        for layer in self.values():
            x = mx.concatenate([x, layer(x)], axis=-1)
        return x


class TDNN(nn.Module):
    """The convolution that halves the frame rate."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.linear = Conv1d(channels, outputs, 5, stride=2, padding=2, bias=False)
        self.nonlinear = Nonlinear(outputs)

    def __call__(self, x: mx.array) -> mx.array:
        return self.nonlinear(self.linear(x))


class Transit(nn.Module):
    """Halves the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.nonlinear = Nonlinear(channels)
        self.linear = nn.Linear(channels, channels // 2, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        return self.linear(self.nonlinear(x))


class Dense(nn.Module):
    """The projection to the embedding."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, SIZE, bias=False)
        self.nonlinear = Nonlinear(SIZE, affine=False)

    def __call__(self, x: mx.array) -> mx.array:
        return self.nonlinear(self.linear(x))


class XVector(nn.Module):
    """Frames (batch, T, 320) to an embedding (batch, 192)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.tdnn = TDNN(channels, BOTTLENECK)
        channels = BOTTLENECK
        for i, (layers, dilation) in enumerate(BLOCKS, 1):
            self[f"block{i}"] = DenseTDNNBlock(layers, channels, dilation)
            channels += layers * GROWTH
            self[f"transit{i}"] = Transit(channels)
            channels //= 2
        self.out_nonlinear = Nonlinear(channels)
        self.dense = Dense(2 * channels)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.tdnn(x)
        for i in range(1, len(BLOCKS) + 1):
            x = self[f"transit{i}"](self[f"block{i}"](x))
        x = self.out_nonlinear(x).astype(mx.float32)
        stats = mx.concatenate([x.mean(axis=1), mx.sqrt(x.var(axis=1, ddof=1))], axis=-1)
        return self.dense(tap("xvector.stats", stats))


class CAMPPlus(nn.Module):
    """The speaker encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.head = FCM()
        self.xvector = XVector(MAPS * MELS // 8)

    def __call__(self, features: mx.array) -> mx.array:
        """Filterbank features (batch, frames, 80), less their mean over time, to embeddings (batch, 192) float32."""
        dtype = self.head.conv1.weight.dtype
        return self.xvector(self.head(features.astype(dtype))).astype(mx.float32)

    def embed(self, samples: np.ndarray) -> mx.array:
        """The voice of a recording.

        Args:
            samples: (n,) float32 at 16 kHz.

        Returns:
            (1, 192) float32, not scaled.

        Raises:
            AudioError: shorter than 45 ms, where nothing can vary over time.
        """
        features = fbank(samples)
        if features.shape[0] < LEAST_FRAMES:
            raise AudioError(f"the recording has {features.shape[0]} frames of 10 ms; {LEAST_FRAMES} are needed")
        return self(mx.array(tap("features", features - features.mean(axis=0)))[None])
