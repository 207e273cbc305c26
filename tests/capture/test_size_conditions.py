"""Sizes that a model branches on: the captured model says so instead of computing something else."""

from __future__ import annotations

import math
from pathlib import Path

import mlx.core as mx
import pytest
import torch
from torch import nn

from pytorch_to_mlx import load, trust
from pytorch_to_mlx.capture.package import capture
from pytorch_to_mlx.capture.subject import subject_of
from pytorch_to_mlx.captured import Allowed, Relation
from pytorch_to_mlx.errors import UsageError


class Branching(nn.Module):
    """Even lengths up to 20 are added in pairs, others are left as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] % 2 == 0 and x.shape[1] <= 20:
            x = x[:, ::2] + x[:, 1::2]
        return self.head(x)


def test_other_branches_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(trust.STORE, str(tmp_path / "trusted"))
    torch.manual_seed(0)
    made = capture(subject_of(Branching(), (torch.randn(3, 8, 3),), origin="mine"), tmp_path / "made")
    assert made.report.passed and [case.name for case in made.report.cases[2:]] == ["sizes 4, 10", "sizes 5, 14"]
    assert made.settings.sizes == {"length": Allowed(4, 20, 2)}
    model = load(made.folder)
    assert model(mx.zeros((2, 18, 3))).shape == (2, 9, 3)
    for length in (9, 22):
        with pytest.raises(UsageError, match=f"length is {length}; the model was captured for 4 to 20 in steps of 2"):
            model(mx.zeros((2, length, 3)))


class Stretched(nn.Module):
    """Takes a size for a number in a way that cannot be kept from it, so that torch holds the size to that number."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = 5 * len(range(x.shape[1] // 4))
        return self.head(nn.functional.interpolate(x.swapaxes(1, 2), size).swapaxes(1, 2))


def test_a_size_that_was_taken_for_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Far above the sizes that conditions are read off from the start, too."""
    monkeypatch.setenv(trust.STORE, str(tmp_path / "trusted"))
    torch.manual_seed(0)
    made = capture(subject_of(Stretched(), (torch.randn(3, 900, 3),), origin="mine"), tmp_path / "made")
    assert made.report.passed and made.settings.sizes == {"length": Allowed(900, 903)}
    with pytest.raises(UsageError, match="length is 904; the model was captured for 900 to 903, and"):
        load(made.folder)(mx.zeros((2, 904, 3)))


class Whole(nn.Module):
    """Sizes by way of fractions, `int` and `round`; `int` as a type, too."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        length = int(x.shape[1])
        sizes = [int(length * 1.25), math.ceil(length / 3), round(length * 0.7), math.floor(length / 3), int("5")]
        assert isinstance(sizes[-1], int) and int is not float
        x = x.swapaxes(1, 2)
        return torch.cat([self.head(nn.functional.interpolate(x, size).swapaxes(1, 2)) for size in sizes], 1)


def test_whole_numbers_of_sizes_stay_dynamic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(trust.STORE, str(tmp_path / "trusted"))
    torch.manual_seed(0)
    made = capture(subject_of(Whole(), (torch.randn(3, 16, 3),), origin="mine"), tmp_path / "made")
    assert made.report.passed and len(made.report.cases) == 4
    assert made.settings.sizes == {"length": Allowed(2)}  # a third of 1 is nothing, which PyTorch refuses
    model, original = load(made.folder), Whole()
    for length in (7, 10, 23, 40):
        assert model(mx.zeros((2, length, 3))).shape == original(torch.zeros(2, length, 3)).shape
    assert "int" not in globals()


class Square(nn.Module):
    """The side of a square of tokens, and a size by way of a logarithm if `logarithm`."""

    def __init__(self, logarithm: bool) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)
        self.logarithm = logarithm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        side = int(x.shape[1] ** 0.5)
        if self.logarithm:
            side = int(2 ** (math.log2(x.shape[1]) / 2))
        return self.head(x.reshape(x.shape[0], side, side, 3).sum(2))


@pytest.mark.parametrize("logarithm", [False, True])
def test_sides_of_squares(logarithm: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no form in Python's own terms is a number, as the example has it."""
    monkeypatch.setenv(trust.STORE, str(tmp_path / "trusted"))
    torch.manual_seed(0)
    made = capture(subject_of(Square(logarithm), (torch.randn(3, 16, 3),), origin="mine"), tmp_path / "made")
    assert made.report.passed
    assert ("int(length**0.5)" in made.generated.source) is not logarithm, made.generated.source


def test_which_numbers_are_allowed() -> None:
    assert str(Allowed(9, 9)) == "9"
    assert 8 in Allowed(step=4) and 6 not in Allowed(step=4) and str(Allowed(step=4)) == "a multiple of 4"
    assert 7 in Allowed(3, step=2) and 8 not in Allowed(3, step=2) and str(Allowed(3)) == "3 or more"


class Upright(nn.Module):
    """Turns pictures that are higher than wide."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[2] > x.shape[3]:
            x = x.transpose(2, 3)
        return self.conv(x)


class Centred(nn.Module):
    """Leaves a single frame as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] > 1:
            x = x - x.mean(1, keepdim=True)
        return self.head(x)


class Placed(nn.Module):
    """Has positions for 1024 tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(50, 8), nn.Embedding(1024, 8)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        assert ids.shape[1] <= 1024
        return self.tokens(ids) + self.places(torch.arange(ids.shape[1]))


REFUSED = {
    "two sizes": (Upright(), torch.randn(2, 3, 12, 8), (2, 3, 8, 12), "captured for height > width, and"),
    "one frame": (Centred(), torch.randn(2, 5, 3), (2, 1, 3), "length is 1; the model was captured for 2 or more, and"),
    "a far limit": (
        Placed(),
        torch.randint(0, 50, (2, 12)),
        (2, 1025),
        "length is 1025; the model was captured for 1 to",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_original_does_otherwise_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(trust.STORE, str(tmp_path / "trusted"))
    module, example, refused, message = REFUSED[name]
    made = capture(subject_of(module, (example,), origin="mine"), tmp_path / "made")
    assert made.report.passed
    model = load(made.folder)
    dtype = mx.int64 if example.dtype == torch.int64 else mx.float32
    assert model(mx.zeros(example.shape, dtype)).shape[0] == 2
    with pytest.raises(UsageError, match=message):
        model(mx.zeros(refused, dtype))


def test_a_batch_of_one_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(trust.STORE, str(tmp_path / "trusted"))
    made = capture(subject_of(Centred(), (torch.randn(2, 5, 3),), origin="mine"), tmp_path / "made")
    assert load(made.folder)(mx.zeros((1, 5, 3))).shape == (1, 5, 3)
    assert made.settings.sizes == {"length": Allowed(2)}


def test_relations() -> None:
    relation = Relation({"height": 2, "width": -1}, -3, "<=")
    assert str(relation) == "2 height <= width + 3"
    assert relation.holds({"height": 3, "width": 3}) and not relation.holds({"height": 4, "width": 3})


class Unresizable(nn.Module):
    """Refuses every size but the example's, when it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.compiler.is_exporting() and tuple(x.shape) != (4, 5, 3):
            raise ValueError("another size")
        return self.head(x)


def test_sizes_that_could_not_be_tried_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(trust.STORE, str(tmp_path / "trusted"))
    made = capture(subject_of(Unresizable(), (torch.randn(4, 5, 3),), origin="mine"), tmp_path / "made")
    assert made.report.passed and made.settings.notes[-1].startswith("0 of 2 other sizes could be compared")
