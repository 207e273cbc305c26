"""Recurrent layers and cells as functions of weights (modules of one layer: `capture/recurrent_layers`)."""

from __future__ import annotations

from typing import Any

from torch import fx

from pytorch_to_mlx.capture.clean import operator_name
from pytorch_to_mlx.capture.code import Code, as_code
from pytorch_to_mlx.capture.emitter import Emitter, Tensor
from pytorch_to_mlx.capture.operators.registry import lowers, missing
from pytorch_to_mlx.errors import CaptureError


def is_zero(node: Any) -> bool:
    """Whether it is an array of zeros, made for nothing else than one initial state."""
    return isinstance(node, fx.Node) and operator_name(node) == "aten.zeros.default" and len(node.users) == 1


def _state(state: Tensor) -> Code:
    return as_code(None) if is_zero(state.node) else state


def _options(
    operator: str, has_biases: bool, num_layers: int, dropout: float, train: bool, both: bool, first: bool
) -> dict[str, Any]:
    if train and dropout:
        raise CaptureError(f"aten.{operator}: dropout={dropout} with train=True is random; call .eval() first")
    return {
        "num_layers": num_layers if num_layers != 1 else None,
        "bias": None if has_biases else False,
        "bidirectional": both or None,
        "batch_first": first or None,
    }


@lowers("lstm.input")
def lstm(e: Emitter, x: Tensor, hx: list[Tensor], params: list[Tensor], *options: Any) -> Code:
    return e.runtime("lstm", x, *map(_state, hx), params, **_options("lstm", *options))


@lowers("gru.input")
def gru(e: Emitter, x: Tensor, hx: Tensor, params: list[Tensor], *options: Any) -> Code:
    return e.runtime("gru", x, _state(hx), params, **_options("gru", *options))


@lowers("rnn_tanh.input")
def rnn_tanh(e: Emitter, x: Tensor, hx: Tensor, params: list[Tensor], *options: Any) -> Code:
    return e.runtime("rnn", x, _state(hx), params, **_options("rnn_tanh", *options))


@lowers("rnn_relu.input")
def rnn_relu(e: Emitter, x: Tensor, hx: Tensor, params: list[Tensor], *options: Any) -> Code:
    return e.runtime("rnn", x, _state(hx), params, **_options("rnn_relu", *options), nonlinearity="relu")


@lowers("lstm_cell.default")
def lstm_cell(e: Emitter, x: Tensor, hx: list[Tensor], *weights: Tensor | None) -> Code:
    return e.runtime("lstm_cell", x, *hx, *_given(weights))


@lowers("gru_cell.default")
def gru_cell(e: Emitter, x: Tensor, hx: Tensor, *weights: Tensor | None) -> Code:
    return e.runtime("gru_cell", x, hx, *_given(weights))


@lowers("rnn_tanh_cell.default")
def rnn_tanh_cell(e: Emitter, x: Tensor, hx: Tensor, *weights: Tensor | None) -> Code:
    return e.runtime("rnn_cell", x, hx, *_given(weights))


@lowers("rnn_relu_cell.default")
def rnn_relu_cell(e: Emitter, x: Tensor, hx: Tensor, *weights: Tensor | None) -> Code:
    return e.runtime("rnn_cell", x, hx, *_given(weights), nonlinearity="relu")


def _given(weights: tuple[Tensor | None, ...]) -> list[Tensor]:
    """Both weights, and both biases if there are any."""
    return [weight for weight in weights if weight is not None]


missing("ragged batches", "lstm.data", "gru.data", "rnn_tanh.data", "rnn_relu.data")
