"""How long phonemes last, how high they are and how loud (kokoro/modules.py): TextEncoder and ProsodyPredictor.

One utterance at a time, nothing is padded: upstream's masks mask nothing.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.layers.convolution import Conv1d
from pytorch_to_mlx.layers.elementwise import sigmoid
from pytorch_to_mlx.layers.linear import Linear
from pytorch_to_mlx.models.kokoro.adain import EPSILON, SLOPE, AdainResBlk1d
from pytorch_to_mlx.models.kokoro.config import STYLE, KokoroConfig
from pytorch_to_mlx.runtime.recurrent_layers import LSTM


class BothWays(LSTM):
    """An LSTM in both directions, half of the outputs each."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs // 2, batch_first=True, bidirectional=True)

    def __call__(self, x: mx.array) -> mx.array:  # type: ignore[override]
        """(batch, steps, inputs) to (batch, steps, outputs)."""
        return super().__call__(x)[0]


class ConvLayer(nn.Module):
    """A convolution, normed and rectified."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = Conv1d(channels, channels, kernel, padding=kernel // 2)
        self.norm = nn.LayerNorm(channels, EPSILON)

    def __call__(self, x: mx.array) -> mx.array:
        """(batch, steps, channels) to the same."""
        return nn.leaky_relu(self.norm(self.conv(x)), SLOPE)


class TextEncoder(nn.Module):
    """Phonemes as the decoder is given them."""

    def __init__(self, config: KokoroConfig) -> None:
        super().__init__()
        channels = config.hidden_dim
        self.embedding = nn.Embedding(config.n_token, channels)
        self.cnn = [ConvLayer(channels, config.text_encoder_kernel_size) for _ in range(config.n_layer)]
        self.lstm = BothWays(channels, channels)

    def __call__(self, tokens: mx.array) -> mx.array:
        """(batch, tokens) to (batch, tokens, hidden_dim)."""
        x = self.embedding(tokens)
        for layer in self.cnn:
            x = layer(x)
        return self.lstm(x)


class AdaLayerNorm(nn.Module):
    """Each step normed over its channels, then scaled and shifted as the style says."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = Linear(STYLE, 2 * channels)

    def __call__(self, x: mx.array, style: mx.array) -> mx.array:
        """(batch, steps, channels) to the same."""
        scale, shift = mx.split(self.fc(style)[:, None], 2, axis=-1)
        return (1 + scale) * mx.fast.layer_norm(x, None, None, EPSILON) + shift


class DurationEncoder(nn.Module):
    """LSTMs and norms in turn, the style beside what each is given."""

    def __init__(self, channels: int, layers: int) -> None:
        super().__init__()
        self.lstms: list[nn.Module] = []
        for _ in range(layers):
            self.lstms += [BothWays(channels + STYLE, channels), AdaLayerNorm(channels)]

    def __call__(self, x: mx.array, style: mx.array) -> mx.array:
        """(batch, tokens, channels) to (batch, tokens, channels + style)."""
        beside = mx.broadcast_to(style[:, None], (*x.shape[:2], style.shape[-1]))
        x = mx.concatenate([x, beside], axis=-1)
        for lstm, norm in zip(self.lstms[::2], self.lstms[1::2], strict=True):
            x = mx.concatenate([norm(lstm(x), style), beside], axis=-1)
        return x


class DurationProjection(nn.Module):
    """Under upstream's name."""

    def __init__(self, channels: int, most: int) -> None:
        super().__init__()
        self.linear_layer = Linear(channels, most)

    def __call__(self, x: mx.array) -> mx.array:
        """(batch, tokens, channels) to (batch, tokens, most)."""
        return self.linear_layer(x)


class ProsodyPredictor(nn.Module):
    """Durations of phonemes, then pitch and loudness of frames."""

    def __init__(self, config: KokoroConfig) -> None:
        super().__init__()
        channels = config.hidden_dim
        self.text_encoder = DurationEncoder(channels, config.n_layer)
        self.lstm = BothWays(channels + STYLE, channels)
        self.duration_proj = DurationProjection(channels, config.max_dur)
        self.shared = BothWays(channels + STYLE, channels)
        self.F0, self.N = (self._blocks(channels) for _ in range(2))
        self.F0_proj, self.N_proj = (Conv1d(channels // 2, 1, 1) for _ in range(2))

    @staticmethod
    def _blocks(channels: int) -> list[AdainResBlk1d]:
        half = channels // 2
        return [
            AdainResBlk1d(channels, channels),
            AdainResBlk1d(channels, half, upsample=True),
            AdainResBlk1d(half, half),
        ]

    def durations(self, encoded: mx.array) -> mx.array:
        """What `text_encoder` gave to frames of 1/40 s at speed 1, (batch, tokens), not rounded."""
        return sigmoid(self.duration_proj(self.lstm(encoded)).astype(mx.float32)).sum(axis=-1)

    def curves(self, frames: mx.array, style: mx.array) -> tuple[mx.array, mx.array]:
        """Frames (batch, frames, channels + style) to pitch in Hz and loudness, (batch, 2 frames) float32."""
        shared = self.shared(frames)
        pitch, loudness = shared, shared
        for block in self.F0:
            pitch = block(pitch, style)
        for block in self.N:
            loudness = block(loudness, style)
        curves = self.F0_proj(pitch), self.N_proj(loudness)
        return curves[0].squeeze(-1).astype(mx.float32), curves[1].squeeze(-1).astype(mx.float32)
