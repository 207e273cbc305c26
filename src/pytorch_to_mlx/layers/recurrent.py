"""Recurrent layers of several levels."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.layers.device import linux_cpu
from pytorch_to_mlx.layers.recurrent_steps import lstm_steps


class StackedLSTM(nn.Module):
    """A unidirectional LSTM of several layers; torch's `nn.LSTM(batch_first=True)` with both biases summed."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int) -> None:
        super().__init__()
        sizes = [input_size] + [hidden_size] * (num_layers - 1)
        self.layers = [nn.LSTM(size, hidden_size) for size in sizes]

    def __call__(self, x: mx.array) -> mx.array:
        """(batch, steps, input_size) to the last layer's hidden states (batch, steps, hidden_size)."""
        if not linux_cpu():
            for layer in self.layers:
                x, _ = layer(x)
            return x
        x = x.swapaxes(0, 1)
        for layer in self.layers:
            start = [mx.zeros((x.shape[1], layer.hidden_size), x.dtype)] * 2
            x, _ = lstm_steps(x, start, layer.Wx, layer.Wh, layer.bias, None, None, False)
        return x.swapaxes(0, 1)
