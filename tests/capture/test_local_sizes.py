"""Sizes as a person would write them: each module reads those of what it is given."""

from __future__ import annotations

from typing import Any

import sympy
import torch
from operator_cases import assert_same, result_of, to_mlx
from torch import nn
from torch.utils._sympy import functions

from pytorch_to_mlx.capture.generate import generate
from pytorch_to_mlx.capture.sizes import local_symbol, localised, relative_to, size_code
from pytorch_to_mlx.capture.state import program_of

FloorDiv: Any = functions.FloorDiv  # whose type sympy does not tell

AUTO = torch.export.Dim.AUTO
N = sympy.Symbol("s0", integer=True, positive=True)
M = sympy.Symbol("s1", integer=True, positive=True)


class Split(nn.Module):
    """Channels in two groups that are weighed by their means, as in ResNeSt."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 8, 3, padding=1)
        self.fc = nn.Conv2d(4, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x).relu()
        batch, channels, height, width = x.shape
        x = x.reshape(batch, 2, channels // 2, height, width)
        gap = x.sum(1).mean((2, 3), keepdim=True)
        weight = self.fc(gap).view(batch, 2, channels // 2, 1, 1).softmax(1)
        return (x * weight).sum(1)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.first = Split()
        self.down = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.second = Split()
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(self.down(self.first(self.stem(x))))
        x = nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.head(x)


def test_modules_read_the_sizes_of_what_they_are_given() -> None:
    torch.manual_seed(0)
    module = Net().eval()
    exported = torch.export.export(module, (torch.randn(2, 3, 16, 20),), dynamic_shapes=({0: AUTO, 2: AUTO, 3: AUTO},))
    program = program_of(exported, module)
    made = generate(program)
    assert made.source.count("class Split") == 1  # both share it, at any resolution
    assert "batch, height, width, _ = x.shape" in made.source
    assert "# x: (batch, height, width, 4)" in made.source
    assert "-1)" not in made.source.replace("reshape(batch, -1)", "")
    assert made.source.count("transpose(") + made.source.count("swapaxes(") == 1  # the image, once
    names: dict = {}
    exec(made.source, names)
    network = names[made.root]()
    stored = {name: (program.tensors[old], axes) for name, (old, axes) in made.tensors.items()}
    network.load_weights(
        [(name, to_mlx(value if axes is None else value.permute(axes))) for name, (value, axes) in stored.items()]
    )
    for height, width in ((16, 20), (13, 9)):
        x = torch.randn(2, 3, height, width)
        assert_same([result_of(network(to_mlx(x)))], [module(x)])


def test_a_size_is_written_without_detours() -> None:
    def text(expr: sympy.Expr) -> str:
        return size_code(expr, {N: "n", M: "m"}).text

    assert text(1 + FloorDiv(N - 1, 4)) == "(n + 3) // 4"
    assert text(2 * N - 4) == "2 * n - 4"
    assert text(M - N) == "m - n"
    for expr in (1 + FloorDiv(N - 1, 4), FloorDiv(N, 7) * FloorDiv(M, 7) * 3, (N + M) ** 2 - 3, 7 - N % 7, -N + 40):
        value = eval(text(expr), {"n": 19, "m": 23})  # noqa: S307
        assert value == int(expr.subs({N: 19, M: 23}))


def test_a_size_follows_from_another() -> None:
    quarter, eighth, known = 1 + FloorDiv(N - 1, 4), 1 + FloorDiv(N - 1, 8), local_symbol("k")
    found = relative_to(eighth, quarter, known)
    assert found is not None
    for size in range(1, 40):
        assert found.subs(known, quarter.subs(N, size)) == eighth.subs(N, size)
    assert relative_to(quarter, eighth, known) is None
    assert str(localised(quarter * 3, {quarter: known})) == "3*k"
