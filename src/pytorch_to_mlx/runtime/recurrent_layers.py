"""Recurrent layers and cells as modules, in PyTorch's own layout of weights.

Weights of a layer and direction are named as in torch: weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, weight_hr_l0
(of a projection), and the same with `_reverse` for the direction from the last step to the first.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.layers.recurrent_steps import States
from pytorch_to_mlx.runtime.recurrent import gru, gru_cell, lstm, lstm_cell, rnn, rnn_cell


class _Recurrent(nn.Module):
    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        bidirectional: bool = False,
        proj_size: int = 0,
    ) -> None:
        super().__init__()
        self.num_layers, self.has_bias, self.batch_first = num_layers, bias, batch_first
        self.bidirectional = bidirectional
        self._names: list[str] = []
        rows, width = self.gates * hidden_size, proj_size or hidden_size
        for layer in range(num_layers):
            inputs = input_size if layer == 0 else width * (1 + bidirectional)
            for end in ("", "_reverse")[: 1 + bidirectional]:
                shapes = {"weight_ih": (rows, inputs), "weight_hh": (rows, width)}
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)} if bias else {}
                shapes |= {"weight_hr": (proj_size, hidden_size)} if proj_size else {}
                for name, shape in shapes.items():
                    self._names.append(f"{name}_l{layer}{end}")
                    self[self._names[-1]] = mx.zeros(shape)

    def _given(self) -> dict:
        return {
            "weights": [self[name] for name in self._names],
            "num_layers": self.num_layers,
            "bias": self.has_bias,
            "bidirectional": self.bidirectional,
            "batch_first": self.batch_first,
        }


class LSTM(_Recurrent):
    """`torch.nn.LSTM`, parameters named as there."""

    gates = 4

    def __call__(self, x: mx.array, h: mx.array | None = None, c: mx.array | None = None) -> States:
        """As `lstm`: (y, h, c)."""
        return lstm(x, h, c, **self._given())


class GRU(_Recurrent):
    """`torch.nn.GRU`, parameters named as there."""

    gates = 3

    def __call__(self, x: mx.array, h: mx.array | None = None) -> States:
        """As `gru`: (y, h)."""
        return gru(x, h, **self._given())


class RNN(_Recurrent):
    """`torch.nn.RNN`, parameters named as there."""

    def __init__(self, input_size: int, hidden_size: int, *, nonlinearity: str = "tanh", **more: Any) -> None:
        super().__init__(input_size, hidden_size, **more)
        self.nonlinearity = nonlinearity

    def __call__(self, x: mx.array, h: mx.array | None = None) -> States:
        """As `rnn`: (y, h)."""
        return rnn(x, h, nonlinearity=self.nonlinearity, **self._given())


class _Cell(nn.Module):
    gates = 1

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__()
        rows = self.gates * hidden_size
        self.weight_ih, self.weight_hh = mx.zeros((rows, input_size)), mx.zeros((rows, hidden_size))
        if bias:
            self.bias_ih, self.bias_hh = mx.zeros(rows), mx.zeros(rows)

    def _weights(self) -> list[mx.array]:
        return [self[name] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if name in self]

    def _start(self, x: mx.array, state: mx.array | None) -> mx.array:
        return mx.zeros((*x.shape[:-1], self.weight_hh.shape[1]), x.dtype) if state is None else state


class LSTMCell(_Cell):
    """`torch.nn.LSTMCell`, parameters named as there."""

    gates = 4

    def __call__(self, x: mx.array, h: mx.array | None = None, c: mx.array | None = None) -> States:
        """As `lstm_cell`: the new h and c."""
        return lstm_cell(x, self._start(x, h), self._start(x, c), *self._weights())


class GRUCell(_Cell):
    """`torch.nn.GRUCell`, parameters named as there."""

    gates = 3

    def __call__(self, x: mx.array, h: mx.array | None = None) -> mx.array:
        """As `gru_cell`."""
        return gru_cell(x, self._start(x, h), *self._weights())


class RNNCell(_Cell):
    """`torch.nn.RNNCell`, parameters named as there."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh") -> None:
        super().__init__(input_size, hidden_size, bias)
        self.nonlinearity = nonlinearity

    def __call__(self, x: mx.array, h: mx.array | None = None) -> mx.array:
        """As `rnn_cell`."""
        return rnn_cell(x, self._start(x, h), *self._weights(), nonlinearity=self.nonlinearity)
