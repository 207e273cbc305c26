"""F0 from a mel spectrum, as chatterbox/models/s3gen/f0_predictor.py (ConvRNNF0Predictor) does it."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.layers import elementwise
from pytorch_to_mlx.layers.convolution import Conv1d

MELS = 80
CHANNELS = 512
LAYERS = 5


class Elu(nn.Module):
    """A module of its own, so that layers keep upstream's places in `condnet`."""

    def __call__(self, x: mx.array) -> mx.array:
        return elementwise.elu(x)


class F0Predictor(nn.Module):
    """Five convolutions over time, and the magnitude of a projection."""

    def __init__(self) -> None:
        super().__init__()
        self.condnet = []
        for i in range(LAYERS):
            self.condnet += [Conv1d(CHANNELS if i else MELS, CHANNELS, 3, padding=1), Elu()]
        self.classifier = nn.Linear(CHANNELS, 1)

    def __call__(self, mel: mx.array) -> mx.array:
        """Log-mel spectrum (batch, frames, 80) to Hz (batch, frames), float32: half precision would go in steps."""
        x = mel
        for layer in self.condnet:
            x = layer(x)
        return mx.abs(self.classifier(x.astype(mx.float32)).squeeze(-1))
