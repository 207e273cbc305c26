"""The encoder of transformers/models/mimi: SEANet's convolutions, a transformer, a stride, and two quantizers."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Annotated

import mlx.core as mx
import mlx.nn as nn
from pydantic import Field

from pytorch_to_mlx.components.decoder import Decoder, DecoderConfig
from pytorch_to_mlx.components.mimi.quantizer import ResidualQuantizer
from pytorch_to_mlx.layers.causal import CausalConv1d
from pytorch_to_mlx.layers.elementwise import elu
from pytorch_to_mlx.parity import tap

Count = Annotated[int, Field(ge=1, le=64)]


@dataclass(frozen=True)
class MimiEncoderConfig:
    """Sizes; the defaults are those of `kyutai/mimi`.

    Attributes:
        ratios: by how much each stage thins out, the first stage first.
        downsample: by how much the frames are thinned out after the transformer.
        quantizers: codebooks that are used, the semantic ones among them.
    """

    transformer: DecoderConfig
    filters: int = 64
    ratios: tuple[Count, ...] = (4, 5, 6, 8)
    kernel_size: int = 7
    residual_kernel_size: int = 3
    last_kernel_size: int = 3
    compress: int = 2
    downsample: int = 2
    codebook_size: int = 2048
    codebook_dim: int = 256
    quantizers: Count = 16
    semantic_quantizers: Count = 1

    def __post_init__(self) -> None:
        if self.semantic_quantizers >= self.quantizers:
            raise ValueError(f"{self.semantic_quantizers} of {self.quantizers} quantizers leave none for the sound")

    @property
    def hidden_size(self) -> int:
        """Channels of what is quantized."""
        return self.transformer.hidden_size

    @property
    def samples_per_frame(self) -> int:
        """How many samples a code stands for."""
        return prod(self.ratios) * self.downsample


class Elu(nn.Module):
    """The activation, a module so that the others count as upstream's."""

    def __call__(self, x: mx.array) -> mx.array:
        """(...) to the same shape."""
        return elu(x)


class ResidualBlock(nn.Module):
    """x plus two activated convolutions of it."""

    def __init__(self, channels: int, kernel_size: int, compress: int) -> None:
        super().__init__()
        hidden = channels // compress
        self.block = [Elu(), CausalConv1d(channels, hidden, kernel_size), Elu(), CausalConv1d(hidden, channels, 1)]

    def __call__(self, x: mx.array) -> mx.array:
        """(batch, time, channels) to the same."""
        y = x
        for layer in self.block:
            y = layer(y)
        return x + y


class Convolutions(nn.Module):
    """SEANet's encoder: samples to hidden states, one for each product of the ratios."""

    def __init__(self, config: MimiEncoderConfig) -> None:
        super().__init__()
        channels = config.filters
        self.layers: list[nn.Module] = [CausalConv1d(1, channels, config.kernel_size)]
        for ratio in config.ratios:
            self.layers += [
                ResidualBlock(channels, config.residual_kernel_size, config.compress),
                Elu(),
                CausalConv1d(channels, 2 * channels, 2 * ratio, ratio),
            ]
            channels *= 2
        self.layers += [Elu(), CausalConv1d(channels, config.hidden_size, config.last_kernel_size)]

    def __call__(self, x: mx.array) -> mx.array:
        """(batch, samples, 1) to (batch, frames, hidden_size)."""
        for layer in self.layers:
            x = layer(x)
        return x


class EncodingQuantizer(nn.Module):
    """Two residual quantizers of the same input: what is said, then how."""

    def __init__(self, config: MimiEncoderConfig) -> None:
        super().__init__()
        sizes, semantic = (config.codebook_size, config.codebook_dim), config.semantic_quantizers
        inputs = config.hidden_size
        self.semantic_residual_vector_quantizer = ResidualQuantizer(semantic, *sizes, inputs=inputs)
        self.acoustic_residual_vector_quantizer = ResidualQuantizer(config.quantizers - semantic, *sizes, inputs=inputs)

    def encode(self, x: mx.array) -> mx.array:
        """(batch, frames, hidden_size) to codes, (batch, frames, quantizers) int32."""
        parts = (self.semantic_residual_vector_quantizer, self.acoustic_residual_vector_quantizer)
        (said, near), (sounded, nearer) = (part.encode(x) for part in parts)
        tap("distances", mx.concatenate([near, nearer], axis=2).reshape(-1, near.shape[-1]))
        return tap("codes", mx.concatenate([said, sounded], axis=-1))


class MimiEncoder(nn.Module):
    """Sound to codes. As in transformers 4.57, every position attends to all before it."""

    def __init__(self, config: MimiEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Convolutions(config)
        self.encoder_transformer = Decoder(config.transformer)
        size, stride = config.hidden_size, config.downsample
        self.downsample = CausalConv1d(size, size, 2 * stride, stride, bias=False, padding_mode="edge")
        self.quantizer = EncodingQuantizer(config)

    def __call__(self, samples: mx.array) -> mx.array:
        """Samples (batch, n) to codes (batch, ceil(n / samples_per_frame), quantizers) int32."""
        hidden = self.encoder(samples[..., None].astype(self.downsample.weight.dtype))
        hidden = self.downsample(self.encoder_transformer(hidden))
        return self.quantizer.encode(hidden)
