"""The GE2E speaker encoder (Wan et al. 2018, arXiv:1710.10467), as resemblyzer/voice_encoder.py and
chatterbox/models/voice_encoder/voice_encoder.py have it: one network, used alone and inside Chatterbox.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.layers.recurrent import StackedLSTM

MELS = 40
FRAMES = 160
SIZE = 256


class VoiceEncoder(nn.Module):
    """Three LSTM layers, a projection of the last state, ReLU, and scaling to unit length."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = StackedLSTM(MELS, SIZE, num_layers=3)
        self.proj = nn.Linear(SIZE, SIZE)

    def __call__(self, mels: mx.array) -> mx.array:
        """Mel spectra of partial utterances (batch, 160, 40) to unit vectors (batch, 256)."""
        states = self.lstm(mels.astype(self.lstm.layers[0].Wx.dtype))
        return unit(nn.relu(self.proj(states[:, -1])).astype(mx.float32))


def unit(vectors: mx.array) -> mx.array:
    """Scale the last axis to length one."""
    return vectors / mx.linalg.norm(vectors, axis=-1, keepdims=True)
