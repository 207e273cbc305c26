"""Modules that are one recurrent layer: `torch.nn.LSTM` and its like, with the zeros that they start from."""

from __future__ import annotations

from typing import Any

from torch import fx

from pytorch_to_mlx.capture.clean import operator_name
from pytorch_to_mlx.capture.code import Code, Slots, call
from pytorch_to_mlx.capture.layers import Layer, Own, recognises
from pytorch_to_mlx.capture.operators.recurrent import is_zero

NAMES = {"aten.lstm.input": "LSTM", "aten.gru.input": "GRU"}


@recognises("lstm.input", "gru.input", "rnn_tanh.input", "rnn_relu.input")
def _recurrent(node: fx.Node, own: Own) -> Layer | None:
    args: Any = node.args
    x, hx, weights, has_biases, num_layers, dropout, train, bidirectional, batch_first = args
    states = list(hx) if isinstance(hx, tuple | list) else [hx]
    names = _names(weights, num_layers, has_biases, bidirectional)
    if names is None or any(own.named(w, name) is None for w, name in zip(weights, names, strict=True)):
        return None
    if train and dropout:
        return None
    zero = [is_zero(state) for state in states]
    inputs = [x] if all(zero) else [x, *states]
    first, second = weights[0].meta["val"], weights[1].meta["val"]
    kind = NAMES.get(str(node.target), "RNN")
    hidden = first.shape[0] // {"LSTM": 4, "GRU": 3}.get(kind, 1)
    numbers: dict[str, tuple[Any, Any]] = {"num_layers": (num_layers, 1), "bias": (has_biases, True)}
    numbers |= {"batch_first": (batch_first, False), "bidirectional": (bidirectional, False)}
    numbers |= {"proj_size": (second.shape[1] if second.shape[1] != hidden else 0, 0)}
    numbers |= {"nonlinearity": ("relu" if "relu" in str(node.target) else "tanh", "tanh")}

    def constructor(slots: Slots) -> Code:
        sizes = [slots.add(int(first.shape[1]), "input_size"), slots.add(int(hidden), "hidden_size")]
        given = {key: value for key, (value, default) in numbers.items() if value != default}
        for key in ("num_layers", "proj_size"):
            if key in given:
                given[key] = slots.add(given[key], key)
        return call(f"runtime.{kind}", *sizes, **given)

    results = {user.args[1]: user for user in node.users}
    unpack = tuple(results.get(place) for place in range(len(states) + 1))
    return Layer(constructor, tuple(inputs), tuple(each for each in unpack if each is not None), unpack)


@recognises("lstm_cell.default", "gru_cell.default", "rnn_tanh_cell.default", "rnn_relu_cell.default")
def _cell(node: fx.Node, own: Own) -> Layer | None:
    args: Any = node.args
    x, hx, *weights = args
    states = list(hx) if isinstance(hx, tuple | list) else [hx]
    given = [weight for weight in weights if weight is not None]
    names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"][: len(given)]
    if any(own.named(w, name) is None for w, name in zip(given, names, strict=True)):
        return None
    rows, inputs = given[0].meta["val"].shape
    hidden = given[1].meta["val"].shape[1]
    kind = {1: "RNNCell", 3: "GRUCell", 4: "LSTMCell"}[rows // hidden]
    relu = "relu" in str(node.target)

    def constructor(slots: Slots) -> Code:
        sizes = [slots.add(int(inputs), "input_size"), slots.add(int(hidden), "hidden_size")]
        bias = None if len(given) == 4 else False
        return call(f"runtime.{kind}", *sizes, bias=bias, nonlinearity="relu" if relu else None)

    zeros = all(operator_name(state) == "aten.zeros.default" for state in states)
    inputs_ = (x,) if zeros else (x, *states)
    if kind != "LSTMCell":
        return Layer(constructor, inputs_, (node,))
    results = {user.args[1]: user for user in node.users}
    unpack = (results.get(0), results.get(1))
    return Layer(constructor, inputs_, tuple(each for each in unpack if each is not None), unpack)


def _names(weights: list, num_layers: int, has_biases: bool, bidirectional: bool) -> list[str] | None:
    """What torch calls the weights, in its order."""
    kinds = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if has_biases else [])]
    ends = ["", "_reverse"] if bidirectional else [""]
    each = len(weights) // (num_layers * len(ends))
    kinds += ["weight_hr"] * (each - len(kinds))
    names = [f"{kind}_l{layer}{end}" for layer in range(num_layers) for end in ends for kind in kinds]
    return names if len(names) == len(weights) else None
