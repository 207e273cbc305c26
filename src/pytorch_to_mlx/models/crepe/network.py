"""CREPE (Kim et al. 2018, arXiv:1802.06182) as torchcrepe/model.py has it; names as upstream's."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

PITCH_BINS = 360
WINDOW = 1024


@dataclass(frozen=True)
class CrepeConfig:
    """Output channels of the six convolutions; every other size is the same for all published weights."""

    channels: tuple[int, int, int, int, int, int]


class Crepe(nn.Module):
    """Six blocks of convolution, ReLU, batch norm and max pooling, and a linear layer over 360 pitch bins."""

    def __init__(self, config: CrepeConfig) -> None:
        super().__init__()
        inputs = (1, *config.channels[:-1])
        for i, (before, after) in enumerate(zip(inputs, config.channels, strict=True), start=1):
            first = i == 1
            setattr(self, f"conv{i}", nn.Conv1d(before, after, 512 if first else 64, stride=4 if first else 1))
            setattr(self, f"conv{i}_BN", nn.BatchNorm(after, eps=0.0010000000474974513))
        # Six poolings and the first stride leave 4 of 1024 positions.
        self.classifier = nn.Linear(4 * config.channels[-1], PITCH_BINS)
        self.eval()

    def block(self, x: mx.array, i: int) -> mx.array:
        """Block `i` of 1 to 6: (batch, positions, channels) to half as many positions."""
        x = mx.pad(x, [(0, 0), (254, 254) if i == 1 else (31, 32), (0, 0)])
        x = self[f"conv{i}_BN"](nn.relu(self[f"conv{i}"](x)))
        batch, positions, channels = x.shape
        return x.reshape(batch, positions // 2, 2, channels).max(axis=2)

    def embed(self, frames: mx.array) -> mx.array:
        """Normalised frames (batch, 1024) to the fifth block's output (batch, 8, channels[4])."""
        x = frames[..., None].astype(self["conv1"].weight.dtype)
        for i in range(1, 6):
            x = self.block(x, i)
        return x

    def __call__(self, frames: mx.array) -> mx.array:
        """Normalised frames (batch, 1024) to probabilities of the pitch bins (batch, 360)."""
        x = self.block(self.embed(frames), 6)
        return mx.sigmoid(self.classifier(x.reshape(x.shape[0], -1))).astype(mx.float32)
