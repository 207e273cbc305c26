"""Qwen3TTSSpeakerEncoder of qwen_tts/core/models/modeling_qwen3_tts.py: no batch norms, padding by reflection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from pydantic import Field

from pytorch_to_mlx.audio.spectrum import log_mel
from pytorch_to_mlx.errors import AudioError
from pytorch_to_mlx.layers.convolution import Conv1d
from pytorch_to_mlx.layers.elementwise import sigmoid, softmax, tanh
from pytorch_to_mlx.parity import tap

Count = Annotated[int, Field(ge=1, le=4096)]
LEAST_VARIANCE = 1e-12
RATE, WINDOW, HOP, HIGHEST = 24000, 1024, 256, 12000.0
LEAST_SECONDS, MOST_REFLECTED = 0.1, 8  # of so short a recording there are nine frames


@dataclass(frozen=True)
class EcapaConfig:
    """Sizes of the layers in turn: the first, the residual ones, and the one that hears them all.

    Attributes:
        embedding: of a speaker.
        scale: parts that a residual block splits its channels into.
    """

    mels: Count = 128
    embedding: Count = 1024
    channels: tuple[Count, ...] = (512, 512, 512, 512, 1536)
    kernels: tuple[Count, ...] = (5, 3, 3, 3, 1)
    dilations: tuple[Count, ...] = (1, 2, 3, 4, 1)
    attention_channels: Count = 128
    scale: Count = 8
    squeezed: Count = 128

    def __post_init__(self) -> None:
        if not 3 <= len(self.channels) == len(self.kernels) == len(self.dilations) <= 64:
            raise ValueError("channels, kernels and dilations of a speaker encoder must be as many")
        reach = max((kernel - 1) * dilation for kernel, dilation in zip(self.kernels, self.dilations, strict=True))
        if -(-reach // 2) > MOST_REFLECTED:
            raise ValueError(f"a convolution of the speaker encoder reaches over {reach} frames, more than it may hear")


class TimeDelay(nn.Module):
    """A rectified convolution as long as its input, which is padded by reflection."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv = Conv1d(inputs, outputs, kernel, dilation=dilation)
        self.reach = dilation * (kernel - 1)

    def __call__(self, x: mx.array) -> mx.array:
        """(batch, frames, inputs) to (batch, frames, outputs)."""
        return nn.relu(self.conv(_reflected(x, self.reach // 2, self.reach - self.reach // 2)))


class Res2Net(nn.Module):
    """Parts of the channels in turn, each heard by all that follow (arXiv:1904.01169)."""

    def __init__(self, channels: int, scale: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.scale, part = scale, channels // scale
        self.blocks = [TimeDelay(part, part, kernel, dilation) for _ in range(scale - 1)]

    def __call__(self, x: mx.array) -> mx.array:
        """(batch, frames, channels) to the same."""
        first, *rest = mx.split(x, self.scale, axis=-1)
        outputs = [first]
        for place, (part, block) in enumerate(zip(rest, self.blocks, strict=True)):
            outputs.append(block(part + outputs[-1] if place else part))
        return mx.concatenate(outputs, axis=-1)


class SqueezeExcitation(nn.Module):
    """Channels scaled by what the whole recording says."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.conv1 = nn.Linear(channels, squeezed)
        self.conv2 = nn.Linear(squeezed, channels)

    def __call__(self, x: mx.array) -> mx.array:
        """(batch, frames, channels) to the same."""
        return x * sigmoid(self.conv2(nn.relu(self.conv1(x.mean(axis=1, keepdims=True)))))


class Block(nn.Module):
    """A residual block between two layers of single frames."""

    def __init__(self, channels: int, config: EcapaConfig, kernel: int, dilation: int) -> None:
        super().__init__()
        self.tdnn1 = TimeDelay(channels, channels)
        self.res2net_block = Res2Net(channels, config.scale, kernel, dilation)
        self.tdnn2 = TimeDelay(channels, channels)
        self.se_block = SqueezeExcitation(channels, config.squeezed)

    def __call__(self, x: mx.array) -> mx.array:
        """(batch, frames, channels) to the same."""
        return x + self.se_block(self.tdnn2(self.res2net_block(self.tdnn1(x))))


class AttentivePooling(nn.Module):
    """Mean and deviation of each channel, frames weighted by attention that knows those of all frames alike."""

    def __init__(self, channels: int, attention: int) -> None:
        super().__init__()
        self.tdnn = TimeDelay(3 * channels, attention)
        self.conv = nn.Linear(attention, channels)

    def __call__(self, x: mx.array) -> mx.array:
        """(batch, frames, channels) to (batch, 2 channels)."""
        whole = [mx.broadcast_to(each, x.shape) for each in _statistics(x, mx.array(1 / x.shape[1], x.dtype))]
        weights = softmax(self.conv(tanh(self.tdnn(mx.concatenate([x, *whole], axis=-1)))), axis=1)
        return mx.concatenate(_statistics(x, weights), axis=-1)[:, 0]


class SpeakerEncoder(nn.Module):
    """Log-mel frames to a speaker's embedding."""

    def __init__(self, config: EcapaConfig) -> None:
        super().__init__()
        self.config = config
        inner, last = config.channels[0], config.channels[-1]
        self.blocks: list[nn.Module] = [TimeDelay(config.mels, inner, config.kernels[0], config.dilations[0])]
        residual = zip(config.channels[1:-1], config.kernels[1:-1], config.dilations[1:-1], strict=True)
        self.blocks += [Block(channels, config, kernel, dilation) for channels, kernel, dilation in residual]
        self.mfa = TimeDelay(sum(config.channels[1:-1]), last, config.kernels[-1], config.dilations[-1])
        self.asp = AttentivePooling(last, config.attention_channels)
        self.fc = nn.Linear(2 * last, config.embedding)

    def __call__(self, mel: mx.array) -> mx.array:
        """(batch, frames, mels) to (batch, embedding)."""
        x, heard = mel.astype(self.fc.weight.dtype), []
        for block in self.blocks:
            x = block(x)
            heard.append(x)
        return self.fc(self.asp(self.mfa(mx.concatenate(heard[1:], axis=-1))))

    def embed(self, samples: np.ndarray) -> mx.array:
        """The embedding (embedding,) of a recording at 24 kHz, (n,) float32.

        Raises:
            AudioError: it is shorter than a tenth of a second.
        """
        if samples.size < LEAST_SECONDS * RATE:
            raise AudioError(
                f"the reference lasts {samples.size / RATE:.3f} s; a voice needs more than {LEAST_SECONDS} s"
            )
        mel = log_mel(mx.array(samples), RATE, WINDOW, HOP, self.config.mels, HIGHEST)
        return self(tap("mel", mel)[None])[0]


def _statistics(x: mx.array, weights: mx.array) -> list[mx.array]:
    """Weighted mean and deviation over frames, (batch, 1, channels) each."""
    mean = (weights * x).sum(axis=1, keepdims=True)
    variance = (weights * mx.square(x - mean)).sum(axis=1, keepdims=True)
    return [mean, mx.sqrt(mx.maximum(variance, LEAST_VARIANCE))]


def _reflected(x: mx.array, before: int, after: int) -> mx.array:
    if not before and not after:
        return x
    last = x.shape[1] - 1
    places = np.arange(-before, x.shape[1] + after)
    return x[:, mx.array(last - np.abs(last - np.abs(places)))]
