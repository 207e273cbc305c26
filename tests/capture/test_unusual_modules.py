"""Modules of less common make: each is captured and proven."""

from __future__ import annotations

import copy
import math
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from pytorch_to_mlx.capture.examples import Sizes
from pytorch_to_mlx.capture.generate import generate
from pytorch_to_mlx.capture.package import Captured, built, capture
from pytorch_to_mlx.capture.proof import prove
from pytorch_to_mlx.capture.subject import subject_of

PLAIN = (2, 5, 8)


class Gated(nn.Module):
    """A norm whose epsilon is torch's default, times something else than a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x) * F.silu(x) + F.rms_norm(x, (8,))


class Implicit(nn.Module):
    """An einsum that does not say what it returns."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bij,bkj", x * self.w, x)


class Turned(nn.Module):
    """A number with an imaginary part."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.exp(1j * x * self.w).real + (x * (2 - 1j)).imag


class Scaled(nn.Module):
    """Has an attribute that is called as a number that differs between instances would be."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.value = nn.Linear(8, 8)
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.value(x) * self.factor


class Stack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Scaled(0.1), Scaled(0.7)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class Strided(nn.Module):
    """Returns a state as it is."""

    strides: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)
        self.register_buffer("strides", torch.tensor([8.0, 16.0, 32.0]))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.head(x), self.strides


class Pooled(nn.Module):
    """Squeezes axes of which one is longer than 1."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).mean(2, keepdim=True).squeeze((2, 3))


class Single(nn.Module):
    """A product with a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight)


class Streaming(nn.Module):
    """Rotates by positions that begin where the last call ended."""

    offset: torch.Tensor
    inverse: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("offset", torch.zeros((), dtype=torch.int64))
        self.register_buffer("inverse", 100.0 ** (-torch.arange(0, 8, 2) / 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        t = (torch.arange(x.shape[-2]) + self.offset).float()[:, None] * self.inverse
        t = torch.cat((t, t), -1)
        a, b = x.chunk(2, -1)
        y = x * t.cos() + torch.cat((-b, a), -1) * t.sin()
        self.offset += x.shape[-2]
        return y


class Drifting(nn.Module):
    """A weight that follows from a state that each call changes."""

    w: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("w", torch.randn(8, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.linear(x, self.w * 0.5)
        self.w.add_(0.1)
        return y


class Bags(nn.Module):
    """Takes integers that cannot be in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(20, 8, mode="sum")

    def forward(self, ids: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        return self.bag(ids, offsets)


class Overlapping(nn.Module):
    """Strides over sizes that vary have no source; the example's have."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.as_strided((x.shape[0], 4, 4), (x.shape[1], 4, 1)))


class Attending(nn.Module):
    """Is given one tensor three times."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return self.attention(q, k, v, need_weights=False)[0]


class RoundedUp(nn.Module):
    """Rounds a size up by rounding its negative down."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        count = -math.floor(-x.shape[1] / 4)
        return x[:, :count] * self.w


class Kinds(nn.Module):
    """Asks whether a number is an `int`."""

    def __init__(self) -> None:
        super().__init__()
        self.k = 2
        self.w = nn.Parameter(torch.randn(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        step = 2 if type(self.k) is int else 1
        return x[:, ::step] * self.w * int(x.shape[1] / 2)


class Cropped(nn.Module):
    """Crops to a multiple, by nothing where it is one."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.pad(x * self.w, (0, 0, 0, -(x.shape[-2] % 3)))


class Streams(nn.Module):
    """Two values that go through a loop, each of them a sum that nothing else needs."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Crossing() for _ in range(3))
        self.first, self.second = nn.Parameter(torch.randn(4, 8)), nn.Parameter(torch.randn(4, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = [torch.cat([x, each.expand_as(x)], 1) + 1 for each in (self.first[:1], self.second[:1])]
        a, b = values
        for layer in self.layers:
            a, b = layer(a, b)
        return a - b


class Crossing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.tanh(self.linear(a)) + b, a * 0.5


class Hidden(nn.Module):
    """Has two parameters whose names differ in what MLX takes for hidden."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self._scale = nn.Parameter(torch.randn(8)), nn.Parameter(torch.randn(8))
        self._linear = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._linear(x) * self.scale + self._scale


class Read(nn.Module):
    """Reads a number out of a buffer."""

    factor: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.register_buffer("factor", torch.tensor(1.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) * self.factor.item() if self.factor.item() > 1 else x


class Experts(nn.Module):
    """Sends each token through two of four matrices, all tokens of a matrix at once."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(16, 4)
        self.weight = nn.Parameter(torch.randn(4, 16, 16, dtype=torch.bfloat16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.reshape(-1, 16)
        scores, chosen = self.gate(tokens).softmax(-1).topk(2, -1)
        order, places = torch.sort(chosen.reshape(-1))
        counts = torch.histc(order.float(), bins=4, min=0, max=3)
        ends = torch.cumsum(counts, 0, dtype=torch.int32)
        y = F.grouped_mm(tokens[places // 2].bfloat16(), self.weight, offs=ends) * scores.reshape(-1)[places, None]
        return y[torch.argsort(places)].view(-1, 2, 16).sum(1).view_as(x)


class Encoding(nn.Module):
    """An encoder with a padding mask, which torch runs on nested tensors in eager mode."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.encoder(x, src_key_padding_mask=torch.zeros(x.shape[:2], dtype=torch.bool))


class Ranking(nn.Module):
    """Orders scores, of which a larger example must have no equal ones."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(3.0))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.argsort(-1), x * self.w


class Ties(nn.Module):
    """Orders numbers of which many are equal, in a way that leaves it to torch in which order these stand."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(4, 8)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        _, order = torch.sort(ids, -1, True)
        return self.embed(ids) + order[..., None] + ids.argsort()[..., None]


class Edges(nn.Module):
    """Looks up nodes by numbers, of which those of a smaller example are out of bounds."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        pairs = torch.cat([x[0][edges[0]], x[0][edges[1]]], -1)
        return torch.zeros(7, 4).index_add(0, edges[1], self.linear(pairs))


class Halves(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64)).to(dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class Named(nn.Module):
    """Results under names that must not end a literal."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> dict[Any, torch.Tensor]:
        y = self.linear(x)
        return {'a"b': y, '"+x+"': y * 2, "new\nline\\": y + 1, 3: y + 2}


class Pairs(nn.Module):
    """A softmax across the batch, which has one element when a batch of one is tried."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        products = F.normalize(self.linear(x), dim=-1) @ x.T
        return products.log_softmax(-1) + F.cross_entropy(products, torch.arange(len(x)))


class Once(nn.Module):
    """A stride that the example fits into once: what is squeezed is an axis of a size that could vary."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(8, 8, 4, stride=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.conv(x)).squeeze(2) + 1


class Cached(nn.Module):
    """One layer of a model that keeps what it has seen, written to in place."""

    seen: torch.Tensor
    kept: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.register_buffer("seen", torch.zeros(1, 16, 8))
        self.register_buffer("kept", torch.zeros(1, 16, 8))

    def forward(self, x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        self.seen[:, places] = self.linear(x)
        self.kept[:, places] = x * 2
        return (self.seen + self.kept).mean(1, keepdim=True) + x


class Caches(nn.Module):
    """Several states of equal names, whose new values are returned together."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Cached() for _ in range(3))

    def forward(self, x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x, places)
        return x


class Again(nn.Module):
    """A module that is called twice, first with what is used last."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.linear = nn.Linear(8, 3), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        early = self.head(x)
        late = self.head(self.linear(x))
        return torch.cat([late, early], -1)


class Peephole(nn.Module):
    """Weights that are nothing, or next to it, as some are initialised."""

    def __init__(self) -> None:
        super().__init__()
        self.zero = nn.Parameter(torch.zeros(8, 8))
        self.linear = nn.Linear(8, 8)
        self.faint = nn.Parameter(1e-7 * torch.randn(8, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) + x @ self.zero + x @ self.faint


class Prior(nn.Module):
    """Distributions, which check their arguments' values."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, deviation = self.linear(x).chunk(2, -1)
        posterior = torch.distributions.Normal(mean, deviation.exp())
        prior = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
        return torch.distributions.kl_divergence(posterior, prior), posterior.log_prob(x[..., :4])


class Windows(nn.Module):
    """Windows that are made where they are used."""

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        made = [
            torch.hamming_window(32),
            torch.hamming_window(32, False, 0.6, 0.3),
            torch.blackman_window(32),
            torch.bartlett_window(32, periodic=False),
            torch.kaiser_window(32),
            torch.kaiser_window(32, False, 5.0),
            torch.hamming_window(1),
        ]
        return [x * window for window in made]


class Started(nn.Module):
    """A recurrent layer that starts from tensors which are no buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.ModuleList(nn.LSTM(8, 4, batch_first=True) for _ in range(2))
        self.start = (torch.randn(1, 2, 4), torch.randn(1, 2, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner[0](x, self.start)[0] + self.inner[1](x, self.start)[0]


class Filled(nn.Module):
    """Elements that a mask chooses come from elsewhere; a table of each size is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.tables = nn.Linear(8, 8), {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) not in self.tables:
            self.tables[len(x)] = torch.arange(len(x)) % 2 == 0
        y, z, rows = self.linear(x), x.clone(), self.tables[len(x)]
        z[y > 0.2] = y[y > 0.2]
        z[rows] = (2 * y)[rows]
        return z


class Boxes(nn.Module):
    """Boxes whose first column is the number of their image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, image: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        return self.conv(image)[boxes[:, 0].long()].mean((2, 3)) * boxes[:, 1:]


class Past(nn.Module):
    """The usual mask of positions after a past whose length varies."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor, past: torch.Tensor) -> torch.Tensor:
        new, old = x.shape[1], past.shape[1]
        keys = torch.cat([past, self.linear(x)], 1)
        scores = x @ keys.mT
        seen = torch.ones(new, old + new, dtype=torch.bool).tril(old)
        return scores.masked_fill(~seen, -torch.inf).softmax(-1) @ keys


X = torch.Generator().manual_seed(0)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=X)


SAME = drawn(*PLAIN)
MODULES: dict[str, tuple[nn.Module, tuple[torch.Tensor, ...]]] = {
    "gated": (Gated(), (drawn(*PLAIN),)),
    "implicit": (Implicit(), (drawn(*PLAIN),)),
    "turned": (Turned(), (drawn(*PLAIN),)),
    "stack": (Stack(), (drawn(*PLAIN),)),
    "strided": (Strided(), (drawn(*PLAIN),)),
    "pooled": (Pooled(), (drawn(2, 3, 8, 8),)),
    "single": (Single(), (drawn(*PLAIN),)),
    "streaming": (Streaming(), (drawn(2, 3, 7, 8),)),
    "drifting": (Drifting(), (drawn(*PLAIN),)),
    "bags": (Bags(), (torch.randint(0, 20, (9,), generator=X), torch.tensor([0, 3, 5]))),
    "overlapping": (Overlapping(), (drawn(2, 20),)),
    "attending": (Attending(), (SAME, SAME, SAME)),
    "rounded up": (RoundedUp(), (drawn(2, 9, 8),)),
    "kinds": (Kinds(), (drawn(2, 9, 8),)),
    "cropped": (Cropped(), (drawn(2, 6, 8),)),
    "streams": (Streams(), (drawn(2, 1, 8),)),
    "hidden": (Hidden(), (drawn(*PLAIN),)),
    "read": (Read(), (drawn(*PLAIN),)),
    "experts": (Experts(), (drawn(2, 5, 16),)),
    "encoding": (Encoding(), (drawn(*PLAIN),)),
    "ranking": (Ranking(), (drawn(2, 100),)),
    "ties": (Ties(), (torch.randint(0, 4, (2, 60), generator=X),)),
    "edges": (Edges(), (drawn(2, 7, 3), torch.randint(0, 7, (2, 20), generator=X))),
    "float16": (Halves(torch.float16), (drawn(2, 5, 64).half(),)),
    "bfloat16": (Halves(torch.bfloat16), (drawn(2, 5, 64).bfloat16(),)),
    "named": (Named(), (drawn(*PLAIN),)),
    "pairs": (Pairs(), (drawn(3, 8),)),
    "once": (Once(), (drawn(2, 8, 5),)),
    "peephole": (Peephole(), (drawn(*PLAIN),)),
    "prior": (Prior(), (drawn(*PLAIN),)),
    "windows": (Windows(), (drawn(2, 32),)),
    "started": (Started(), (drawn(*PLAIN),)),
    "filled": (Filled(), (drawn(*PLAIN),)),
    "boxes": (Boxes(), (drawn(2, 3, 6, 6), torch.cat([torch.tensor([[0.0], [1.0], [1.0]]), drawn(3, 4)], 1))),
    "caches": (Caches(), (drawn(1, 4, 8), torch.arange(4))),
    "again": (Again(), (drawn(*PLAIN),)),
    "past": (Past(), (drawn(*PLAIN), drawn(2, 3, 8))),
}


def made(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Captured:
    monkeypatch.setenv("PYTORCH_TO_MLX_TRUSTED", str(folder / "trusted"))
    module, args = MODULES[name]
    return capture(subject_of(module.eval(), args, origin=name), folder / "made")


@pytest.mark.parametrize("name", MODULES)
def test_it_is_captured(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captured = made(name, tmp_path, monkeypatch)
    assert captured.report.passed, f"{captured.report.summary()}\n{captured.generated.source}"


def test_states_of_equal_names_are_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And compared: the second call's places are others than the first's."""
    captured = made("caches", tmp_path, monkeypatch)
    taps = {tap.name for case in captured.report.cases for tap in case.taps}
    assert {f"state layers.{n}.{name}" for n in range(3) for name in ("seen", "kept")} <= taps
    module = copy.deepcopy(MODULES["caches"][0])
    with torch.no_grad():
        for start in (0, 4, 8):
            x, places = drawn(1, 4, 8), torch.arange(start, start + 4)
            found = captured.network(mx.array(x.numpy()), mx.array(places.numpy()))
            torch.testing.assert_close(torch.from_numpy(np.array(found)), module(x, places), rtol=0, atol=1e-6)


def test_a_wrong_state_is_named() -> None:
    """What the call itself returns is right, and what it leaves behind is not."""
    module, args = MODULES["caches"]
    subject = subject_of(module.eval(), args, origin="caches")
    program = subject.program()
    generated = generate(program)
    assert "return index_put, index_put_2, " in generated.source
    swapped = generated.source.replace("return index_put, index_put_2, ", "return index_put_2, index_put, ")
    wrong = replace(generated, source=swapped)
    report = prove(subject, wrong, built(wrong, program), Sizes(program))
    assert {case.first_divergence for case in report.cases} == {"state layers.0.seen"}


class Carrying(nn.Module):
    """Keeps a tensor in an attribute, where torch does not look for states."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.last = (torch.zeros(2, 8), 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(x) + self.last[0]
        self.last = (y, 3)
        return y


def test_what_is_kept_beside_buffers_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_TO_MLX_TRUSTED", str(tmp_path / "trusted"))
    module = Carrying().eval()
    captured = capture(subject_of(module, (drawn(2, 8),), origin="carrying"), tmp_path / "made")
    (note,) = captured.settings.notes
    assert (
        captured.report.passed
        and "second call of the original gives other results, for it keeps values in last" in note
    )
    assert not module.last[0].any()


class Queueing(nn.Module):
    """Keeps what it was given in a container of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.seen = nn.Linear(8, 8), deque([torch.zeros(2, 8)] * 3, maxlen=3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(self.linear(x))
        return torch.cat(list(self.seen), -1)


def test_the_users_containers_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_TO_MLX_TRUSTED", str(tmp_path / "trusted"))
    module = Queueing().eval()
    captured = capture(subject_of(module, (drawn(2, 8),), origin="queueing"), tmp_path / "made")
    assert len(module.seen) == 3 and not any(each.any() for each in module.seen)
    assert captured.report.passed and "keeps values in seen" in captured.settings.notes[0]


def test_chance_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_TO_MLX_TRUSTED", str(tmp_path / "trusted"))
    captured = capture(subject_of(Chance().eval(), (drawn(2, 8),), origin="chance"), tmp_path / "made")
    assert "the original draws random numbers, which the captured model does otherwise" in captured.settings.notes
    assert not captured.report.passed


class Chance(nn.Module):
    """Adds noise, in evaluation too."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) + torch.randn_like(x)


def test_fixed_sizes_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (note,) = made("overlapping", tmp_path, monkeypatch).settings.notes
    assert note.startswith("sizes are fixed as in the example: ")


def test_few_digits_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captured = made("bfloat16", tmp_path, monkeypatch)
    assert captured.settings.notes == ("PyTorch's numbers have few digits: outputs are compared within 0.03",)
    assert captured.config.dtype == "bfloat16"
