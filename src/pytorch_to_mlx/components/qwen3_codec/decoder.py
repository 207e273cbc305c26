"""From codes to sound: qwen_tts/core/tokenizer_12hz/modeling_qwen3_tts_tokenizer_v2.py, Qwen3TTSTokenizerV2Decoder.

A quantizer's vectors, a transformer with a window, ConvNeXt blocks and residual convolutions, all causal.
"""

from __future__ import annotations

from copy import copy

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.components.decoder import Cache, Decoder, DecoderConfig, Memory
from pytorch_to_mlx.components.mimi import ResidualQuantizer
from pytorch_to_mlx.components.qwen3_codec.config import CodecDecoderConfig
from pytorch_to_mlx.decoding import WindowCache
from pytorch_to_mlx.layers.causal import CausalConv1d, CausalConvTranspose1d, Stream
from pytorch_to_mlx.layers.elementwise import gelu
from pytorch_to_mlx.layers.linear import Linear
from pytorch_to_mlx.layers.snake import SnakeBeta

DILATIONS = (1, 3, 9)


class CodecStream(Stream):
    """Where a decoder of codes stands within one batch of recordings."""

    def __init__(self, transformer: DecoderConfig) -> None:
        super().__init__()
        self.cache = WindowCache(transformer.num_layers, transformer.sliding_window or 1)

    def __copy__(self) -> CodecStream:
        twin = super().__copy__()
        twin.cache = copy(self.cache)
        return twin

    @property
    def arrays(self) -> list[mx.array]:
        return super().arrays + self.cache.arrays


class DecodingQuantizer(nn.Module):
    """The sum of what two quantizers make of the first codebook and of the others."""

    def __init__(self, config: CodecDecoderConfig) -> None:
        super().__init__()
        sizes, outputs = (config.codebook_size, config.codebook_dim // 2), config.codebook_dim
        self.rvq_first = ResidualQuantizer(1, *sizes, outputs=outputs)
        self.rvq_rest = ResidualQuantizer(config.quantizers - 1, *sizes, outputs=outputs)

    def decode(self, codes: mx.array) -> mx.array:
        """(batch, frames, quantizers) to (batch, frames, codebook_dim)."""
        return self.rvq_first.decode(codes[..., :1]) + self.rvq_rest.decode(codes[..., 1:])


class Transformer(Decoder):
    """A decoder between two linear layers."""

    def __init__(self, config: CodecDecoderConfig) -> None:
        super().__init__(config.transformer)
        self.input_proj = Linear(config.latent_dim, config.transformer.hidden_size)
        self.output_proj = Linear(config.transformer.hidden_size, config.latent_dim)

    def __call__(self, embeddings: mx.array, cache: Cache | None = None, memory: Memory | None = None) -> mx.array:
        """(batch, frames, latent_dim) to the same."""
        return self.output_proj(super().__call__(self.input_proj(embeddings), cache, memory))


class ConvNeXtBlock(nn.Module):
    """A depthwise convolution, then two linear layers for each step, added to the input (arXiv:2201.03545)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = CausalConv1d(channels, channels, 7, groups=channels)
        self.norm = nn.LayerNorm(channels, 1e-6)
        self.pwconv1 = Linear(channels, 4 * channels)
        self.pwconv2 = Linear(4 * channels, channels)
        self.gamma = mx.ones((channels,))

    def __call__(self, x: mx.array, stream: Stream | None = None) -> mx.array:
        """(batch, steps, channels) to the same."""
        return x + self.gamma * self.pwconv2(gelu(self.pwconv1(self.norm(self.dwconv(x, stream)))))


class ResidualUnit(nn.Module):
    """x plus a dilated convolution and one of each step alone, both after an activation."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.act1 = SnakeBeta(channels)
        self.conv1 = CausalConv1d(channels, channels, 7, dilation=dilation)
        self.act2 = SnakeBeta(channels)
        self.conv2 = CausalConv1d(channels, channels, 1)

    def __call__(self, x: mx.array, stream: Stream | None = None) -> mx.array:
        """(batch, steps, channels) to the same."""
        return x + self.conv2(self.act2(self.conv1(self.act1(x), stream)))


class Block(nn.Module):
    """Upsampling, then residual units of growing reach."""

    def __init__(self, inputs: int, outputs: int, rate: int) -> None:
        super().__init__()
        upsampling = CausalConvTranspose1d(inputs, outputs, 2 * rate, rate)
        self.block = [SnakeBeta(inputs), upsampling, *(ResidualUnit(outputs, dilation) for dilation in DILATIONS)]

    def __call__(self, x: mx.array, stream: Stream | None = None) -> mx.array:
        """(batch, steps, inputs) to (batch, steps * rate, outputs)."""
        activation, *rest = self.block
        x = activation(x)
        for layer in rest:
            x = layer(x, stream)
        return x


class CodecDecoder(nn.Module):
    """Codes to sound."""

    def __init__(self, config: CodecDecoderConfig) -> None:
        super().__init__()
        self.config = config
        latent, channels = config.latent_dim, config.channels
        self.quantizer = DecodingQuantizer(config)
        self.pre_conv = CausalConv1d(config.codebook_dim, latent, 3)
        self.pre_transformer = Transformer(config)
        self.upsample = [
            [CausalConvTranspose1d(latent, latent, ratio, ratio), ConvNeXtBlock(latent)] for ratio in config.ratios
        ]
        self.decoder: list[nn.Module] = [CausalConv1d(latent, channels, 7)]
        for rate in config.rates:
            self.decoder.append(Block(channels, channels // 2, rate))
            channels //= 2
        self.decoder += [SnakeBeta(channels), CausalConv1d(channels, 1, 7)]

    def __call__(self, codes: mx.array, stream: CodecStream | None = None) -> mx.array:
        """Codes (batch, frames, quantizers) to samples within -1 and 1, (batch, frames * samples_per_frame).

        With a stream, those that follow what it was given before: in pieces or at once, the samples are the same.
        """
        hidden = self.pre_conv(self.quantizer.decode(codes), stream)
        hidden = self.pre_transformer(hidden, stream.cache if stream is not None else None)
        for upsampling, block in self.upsample:
            hidden = block(upsampling(hidden, stream), stream)
        first, *blocks, activation, last = self.decoder
        x = first(hidden, stream)
        for block in blocks:
            x = block(x, stream)
        return mx.clip(last(activation(x), stream)[..., 0], -1, 1)

    def stream(self) -> CodecStream:
        """The beginning of a batch."""
        return CodecStream(self.config.transformer)
