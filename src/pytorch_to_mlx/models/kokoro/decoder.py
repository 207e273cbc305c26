"""From phonemes stretched to frames, pitch and loudness to sound: Decoder and Generator of kokoro/istftnet.py.

iSTFTNet (Kaneko et al. 2022, arXiv:2203.02395) with a harmonic source, styled by a voice.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.layers import elementwise
from pytorch_to_mlx.layers.convolution import Conv1d, ConvTranspose1d
from pytorch_to_mlx.layers.fourier import ShortFourier
from pytorch_to_mlx.models.kokoro.adain import AdainResBlk1d, AdaINResBlock1
from pytorch_to_mlx.models.kokoro.config import NARROW, RESIDUAL, WIDE, GeneratorConfig
from pytorch_to_mlx.models.kokoro.source import Source

SLOPE, LAST_SLOPE = 0.1, 0.01
NOISE_KERNELS = (7, 11)  # of what the source goes through before the last upsampling, and after it
NOISE_DILATIONS = (1, 3, 5)


class Generator(nn.Module):
    """The vocoder of one utterance."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.fourier = ShortFourier(config.gen_istft_n_fft)
        bins = 2 * self.fourier.bins
        self.m_source = Source(config)
        self.ups, self.resblocks, self.noise_convs, self.noise_res = [], [], [], []
        channels, stride = config.upsample_initial_channel, config.samples // config.gen_istft_hop_size
        for place, (rate, kernel) in enumerate(config.upsampling):
            last = place + 1 == len(config.upsampling)
            self.ups.append(ConvTranspose1d(channels, channels // 2, kernel, stride=rate, padding=(kernel - rate) // 2))
            channels, stride = channels // 2, stride // rate
            reach = (1, 1, 0) if last else (2 * stride, stride, (stride + 1) // 2)
            self.noise_convs.append(Conv1d(bins, channels, reach[0], stride=reach[1], padding=reach[2]))
            self.noise_res.append(AdaINResBlock1(channels, NOISE_KERNELS[last], NOISE_DILATIONS))
            kernels = zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True)
            self.resblocks += [AdaINResBlock1(channels, size, dilations) for size, dilations in kernels]
        self.conv_post = Conv1d(channels, bins, 7, padding=3)

    def __call__(self, x: mx.array, style: mx.array, harmonics: mx.array) -> mx.array:
        """Frames (1, 2 T, channels), style (1, 128) and the harmonics to samples (1, 2 T * samples) float32."""
        blocks = len(self.resblocks) // len(self.ups)
        for place, up in enumerate(self.ups):
            heard = self.noise_res[place](self.noise_convs[place](harmonics.astype(x.dtype)), style)
            x = up(nn.leaky_relu(x, SLOPE))
            if place + 1 == len(self.ups):  # a centred transform has a frame more than hops
                x = mx.concatenate([x[:, 1:2], x], axis=1)
            x = x + heard
            parts = [block(x, style) for block in self.resblocks[place * blocks : (place + 1) * blocks]]
            x = sum(parts[1:], parts[0]) / blocks
        x = self.conv_post(nn.leaky_relu(x, LAST_SLOPE))[0].astype(mx.float32)
        magnitude, angle = elementwise.exp(x[:, : self.fourier.bins]), elementwise.sin(x[:, self.fourier.bins :])
        spectrum = mx.concatenate([magnitude * mx.cos(angle), magnitude * mx.sin(angle)], axis=-1)
        return self.fourier.inverse(spectrum)[None]


class Decoder(nn.Module):
    """Frames of a text with pitch and loudness to sound."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.encode = AdainResBlk1d(NARROW + 2, WIDE)
        inputs = WIDE + 2 + RESIDUAL
        self.decode = [*(AdainResBlk1d(inputs, WIDE) for _ in range(3)), AdainResBlk1d(inputs, NARROW, upsample=True)]
        self.F0_conv, self.N_conv = (Conv1d(1, 1, 3, stride=2, padding=1) for _ in range(2))
        self.asr_res = [Conv1d(NARROW, RESIDUAL, 1)]
        self.generator = Generator(config)

    def frames(self, asr: mx.array, pitch: mx.array, loudness: mx.array, style: mx.array) -> mx.array:
        """What the vocoder is given.

        Args:
            asr: the text, (1, T, 512).
            pitch, loudness: (1, 2 T) float32.
            style: (1, 128).

        Returns:
            (1, 2 T, 512).
        """
        pitch, loudness = (curve[..., None].astype(asr.dtype) for curve in (pitch, loudness))
        curves = [self.F0_conv(pitch), self.N_conv(loudness)]
        x = self.encode(mx.concatenate([asr, *curves], axis=-1), style)
        beside = [self.asr_res[0](asr), *curves]
        for block in self.decode:
            x = block(mx.concatenate([x, *beside], axis=-1), style)
        return x

    def __call__(
        self, asr: mx.array, pitch: mx.array, loudness: mx.array, style: mx.array, harmonics: mx.array
    ) -> mx.array:
        """As `frames`, and the source's harmonics, to samples (1, 2 T * samples) float32."""
        return self.generator(self.frames(asr, pitch, loudness, style), style, harmonics)
