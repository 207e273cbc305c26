"""Recurrent layers and cells against torch's, as modules, as functions and through capture."""

from __future__ import annotations

import itertools
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch

from pytorch_to_mlx import runtime
from pytorch_to_mlx.layers import recurrent_steps

KINDS = {"LSTM": 2, "GRU": 1, "RNN": 1}


def compare(got: Any, want: Any) -> None:
    for mine, theirs in zip(got, want, strict=True):
        assert mine.shape == tuple(theirs.shape)
        assert np.abs(np.array(mine) - theirs.detach().numpy()).max() <= 3e-6


def flat(y: Any, state: Any) -> tuple:
    return (y, *(state if isinstance(state, tuple) else (state,)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("layers", "both"), [(1, False), (2, True)])
@pytest.mark.parametrize(("bias", "batch_first"), [(True, False), (False, True)])
@pytest.mark.parametrize("steps", [3, 20])
def test_a_layer_equals_torchs(kind: str, layers: int, both: bool, bias: bool, batch_first: bool, steps: int) -> None:
    torch.manual_seed(0)
    options: dict = {"num_layers": layers, "bias": bias, "batch_first": batch_first, "bidirectional": both}
    for more, batch, given in itertools.product(extras(kind), (None, 3), (False, True)):
        theirs = getattr(torch.nn, kind)(5, 8, **options, **more).eval()
        mine = getattr(runtime, kind)(5, 8, **options, **more)
        mine.load_weights([(k, mx.array(v.numpy())) for k, v in theirs.state_dict().items()], strict=True)
        x = torch.randn(*((steps,) if batch is None else (batch, steps) if batch_first else (steps, batch)), 5)
        between = () if batch is None else (batch,)
        widths = (more.get("proj_size", 8), 8)[: KINDS[kind]]
        states = [torch.randn(layers * (1 + both), *between, width) for width in widths] if given else []
        hx = (tuple(states) if len(states) == 2 else states[0]) if given else None
        with torch.no_grad():
            want = flat(*theirs(x, hx))
        compare(mine(mx.array(x.numpy()), *(mx.array(each.numpy()) for each in states)), want)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 4, 24])
def test_wide_layers_equal_torchs(kind: str, batch: int) -> None:
    """Weights so large that products go in blocks, and directions to cores of their own; compiled or not."""
    torch.manual_seed(0)
    options: dict = {"num_layers": 2, "bidirectional": True}
    theirs = getattr(torch.nn, kind)(24, 1024 if kind == "RNN" else 512, **options).eval()
    mine = getattr(runtime, kind)(24, theirs.hidden_size, **options)
    mine.load_weights([(k, mx.array(v.numpy())) for k, v in theirs.state_dict().items()], strict=True)
    x = torch.randn(12, batch, 24)
    with torch.no_grad():
        want = flat(*theirs(x))
    for function in (mine, mx.compile(mine)):
        compare(function(mx.array(x.numpy())), want)


def test_blocks_are_as_few_as_openblas_leaves_to_one_thread() -> None:
    assert recurrent_steps._blocks(2048, 512 * 4, 4) == 16
    assert recurrent_steps._blocks(2048, 512 * 64, 4) == 1  # they would have eight rows
    assert recurrent_steps._blocks(512, 128, 4) == 1
    for rows, each, gates in ((1536, 2048, 3), (300, 4096, 3), (1, 2**20, 1), (2048, 520, 4)):
        count = recurrent_steps._blocks(rows, each, gates)
        assert count == 1 or (count % gates == rows % count == 0 and rows // count * each <= recurrent_steps.ONE_THREAD)


def extras(kind: str) -> list[dict]:
    return {"LSTM": [{}, {"proj_size": 4}], "GRU": [{}], "RNN": [{}, {"nonlinearity": "relu"}]}[kind]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [(), (3,)])
def test_a_cell_equals_torchs(bias: bool, batch: tuple) -> None:
    torch.manual_seed(0)
    x, h, c = (torch.randn(*batch, width) for width in (5, 8, 8))
    mine = [mx.array(each.numpy()) for each in (x, h, c)]

    def weights(cell: Any) -> list:
        return [mx.array(each.detach().numpy()) for each in cell.parameters()]

    lstm, gru = torch.nn.LSTMCell(5, 8, bias=bias), torch.nn.GRUCell(5, 8, bias=bias)
    compare(runtime.lstm_cell(*mine, *weights(lstm)), lstm(x, (h, c)))
    compare([runtime.gru_cell(*mine[:2], *weights(gru))], [gru(x, h)])
    for nonlinearity in ("tanh", "relu"):
        rnn = torch.nn.RNNCell(5, 8, bias=bias, nonlinearity=nonlinearity)
        compare([runtime.rnn_cell(*mine[:2], *weights(rnn), nonlinearity=nonlinearity)], [rnn(x, h)])


class Speech(torch.nn.Module):
    """Layers of every kind, some of whose results go unused, a step by hand, and a layer without a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.both = torch.nn.LSTM(5, 8, 2, batch_first=True, bidirectional=True)
        self.gru = torch.nn.GRU(16, 8)
        self.rnn = torch.nn.RNN(8, 8, nonlinearity="relu", bias=False)
        self.narrow = torch.nn.LSTM(8, 8, proj_size=4)
        self.cell, self.gate, self.last = torch.nn.LSTMCell(4, 4), torch.nn.GRUCell(4, 4), torch.nn.RNNCell(4, 4)
        self.single = torch.nn.LSTM(4, 6)

    def forward(self, x: Any) -> Any:
        y, (h, _) = self.both(x)
        y, end = self.gru(y.transpose(0, 1), h[:1, :, :8].contiguous())
        y, _ = self.rnn(y)
        y = self.narrow(y)[0]
        h, c = self.cell(y[0])
        h, c = self.cell(y[1], (h, c))
        h = self.last(self.gate(y[2], h), c)
        alone, _ = self.single(y[:, 0])
        return y, h, end, alone


def test_capture() -> None:
    from pytorch_to_mlx.capture.generate import generate
    from pytorch_to_mlx.capture.state import program_of

    torch.manual_seed(0)
    module, x = Speech().eval(), torch.randn(2, 10, 5)
    program = program_of(torch.export.export(module, (x,)), module)
    made = generate(program)
    names: dict[str, Any] = {}
    exec(compile(made.source, "<captured>", "exec"), names)
    network = names[made.root]()
    weights = [(new, mx.array(program.tensors[old].numpy())) for new, (old, _) in made.tensors.items()]
    network.load_weights(weights, strict=True)
    compare(network(mx.array(x.numpy())), module(x))
    assert "runtime.LSTM(5, 8, num_layers=2, batch_first=True, bidirectional=True)" in made.source
    assert "runtime.GRU(16, 8)" in made.source and "self.narrow(" in made.source
