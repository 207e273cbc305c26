"""Rules: how one group of source tensors becomes parameters. Layouts are declared, never guessed from shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeVar

import numpy as np

from pytorch_to_mlx.errors import WeightMapError

Shape = tuple[int, ...]
T = TypeVar("T")


@dataclass(frozen=True)
class Layout:
    """A declared change of axis order, such as `OIK->OKI` or `OIK1->OKI`."""

    spec: str

    def __post_init__(self) -> None:
        left, arrow, right = self.spec.partition("->")
        letters = left.replace("1", "")
        if not arrow or sorted(letters) != sorted(right) or len(set(letters)) != len(letters):
            raise WeightMapError(f"layout {self.spec!r} does not name the same axes once on both sides")

    @cached_property
    def _sides(self) -> tuple[str, str]:
        left, _, right = self.spec.partition("->")
        return left, right

    def shape(self, shape: Shape) -> Shape:
        """The shape after the change. Raises `WeightMapError` if `shape` is not of the declared layout."""
        left, right = self._sides
        if len(shape) != len(left) or any(c == "1" and n != 1 for c, n in zip(left, shape, strict=True)):
            raise WeightMapError(f"shape {shape} does not have the declared layout {left}")
        size = dict(zip(left, shape, strict=True))
        return tuple(size[c] for c in right)

    def apply(self, array: np.ndarray) -> np.ndarray:
        """`array` with its axes in the order on the right (a view)."""
        left, right = self._sides
        squeezed = array.reshape([n for c, n in zip(left, array.shape, strict=True) if c != "1"])
        letters = left.replace("1", "")
        return squeezed.transpose([letters.index(c) for c in right])


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Base of all rules. `optional` rules may match nothing."""

    optional: bool = False

    @property
    def forms(self) -> tuple[tuple[str, ...], ...]:
        """Alternative sets of source templates; one application takes all sources of one form."""
        raise NotImplementedError

    @property
    def outputs(self) -> tuple[str, ...]:
        """Target templates; empty for rules that drop."""
        return ()

    def shapes(self, shapes: list[Shape]) -> list[Shape]:
        """Output shapes from input shapes. Raises `WeightMapError` where they do not fit."""
        return []

    def compute(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Outputs from inputs."""
        return []

    @property
    def action(self) -> str:
        """What the rule does, for tables."""
        raise NotImplementedError


def _laid_shape(layout: str | None, shape: Shape) -> Shape:
    return Layout(layout).shape(shape) if layout else shape


def _laid_out(layout: str | None, array: np.ndarray) -> np.ndarray:
    return Layout(layout).apply(array) if layout else array


def _axis(rule: Rule, axis: int, rank: int) -> int:
    """`axis` counted from the front. Raises `WeightMapError` if `rank` axes do not have it."""
    if not -rank <= axis < rank:
        raise WeightMapError(f"{rule.action}: there is no axis {axis} of {rank}")
    return axis % rank


@dataclass(frozen=True)
class Rename(Rule):
    """One source tensor becomes one parameter, in another layout if declared."""

    source: str
    target: str
    layout: str | None = None

    @property
    def forms(self) -> tuple[tuple[str, ...], ...]:
        return ((self.source,),)

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.target,)

    def shapes(self, shapes: list[Shape]) -> list[Shape]:
        return [_laid_shape(self.layout, shapes[0])]

    def compute(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        return [_laid_out(self.layout, arrays[0])]

    @property
    def action(self) -> str:
        return f"transpose {self.layout}" if self.layout else "rename"


@dataclass(frozen=True)
class Fuse(Rule):
    """Several source tensors become one parameter: concatenated or stacked along `axis`, or summed.

    `zeros` are the places, among those that are joined, of what the checkpoint has not, since it would be all zeros: of
    the first source's shape.
    """

    sources: tuple[str, ...]
    target: str
    how: Literal["concat", "stack", "sum"] = "concat"
    axis: int = 0
    layout: str | None = None
    zeros: tuple[int, ...] = ()

    @property
    def forms(self) -> tuple[tuple[str, ...], ...]:
        return (self.sources,)

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.target,)

    def shapes(self, shapes: list[Shape]) -> list[Shape]:
        shapes = self._with_zeros([_laid_shape(self.layout, s) for s in shapes], lambda shape: shape)
        first = list(shapes[0])
        if self.how == "concat":
            axis = _axis(self, self.axis, len(first))
            rest = [(len(s), s[:axis], s[axis + 1 :]) for s in shapes]
            if any(r != rest[0] for r in rest):
                raise WeightMapError(f"shapes {shapes} cannot be concatenated along axis {self.axis}")
            first[axis] = sum(s[axis] for s in shapes)
        elif any(s != shapes[0] for s in shapes):
            raise WeightMapError(f"shapes {shapes} differ")
        elif self.how == "stack":
            first.insert(_axis(self, self.axis, len(first) + 1), len(shapes))
        return [tuple(first)]

    def compute(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        arrays = self._with_zeros([_laid_out(self.layout, a) for a in arrays], np.zeros_like)
        if self.how == "concat":
            return [np.concatenate(arrays, axis=self.axis)]
        if self.how == "stack":
            return [np.stack(arrays, axis=self.axis)]
        total = arrays[0].astype(np.float32)
        for array in arrays[1:]:
            total = total + array.astype(np.float32)
        return [total.astype(arrays[0].dtype)]

    def _with_zeros(self, given: list[T], zeros_like: Callable[[T], T]) -> list[T]:
        joined = [*given]
        for place in self.zeros:
            joined.insert(place, zeros_like(given[0]))
        return joined

    @property
    def action(self) -> str:
        verb = {"concat": f"concatenate axis {self.axis}", "stack": f"stack axis {self.axis}", "sum": "sum"}[self.how]
        zeros = f" and {len(self.zeros)} of zeros" if self.zeros else ""
        return f"{verb} of {len(self.sources)}{zeros}" + (f", {self.layout}" if self.layout else "")


@dataclass(frozen=True)
class Split(Rule):
    """One source tensor becomes several parameters, cut along `axis` into `sizes` (equal parts if not given)."""

    source: str
    targets: tuple[str, ...]
    axis: int = 0
    sizes: tuple[int, ...] | None = None
    layout: str | None = None

    @property
    def forms(self) -> tuple[tuple[str, ...], ...]:
        return ((self.source,),)

    @property
    def outputs(self) -> tuple[str, ...]:
        return self.targets

    def _cuts(self, length: int) -> tuple[int, ...]:
        parts = len(self.targets)
        sizes = self.sizes or (length // parts,) * parts
        if len(sizes) != parts or sum(sizes) != length:
            raise WeightMapError(f"axis {self.axis} of length {length} cannot be split into {parts} parts {sizes}")
        return sizes

    def shapes(self, shapes: list[Shape]) -> list[Shape]:
        shape = _laid_shape(self.layout, shapes[0])
        axis = _axis(self, self.axis, len(shape))
        return [(*shape[:axis], n, *shape[axis + 1 :]) for n in self._cuts(shape[axis])]

    def compute(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        array = _laid_out(self.layout, arrays[0])
        bounds = np.cumsum(self._cuts(array.shape[self.axis]))[:-1]
        return np.split(array, bounds, axis=self.axis)

    @property
    def action(self) -> str:
        return f"split axis {self.axis} in {len(self.targets)}" + (f", {self.layout}" if self.layout else "")


@dataclass(frozen=True)
class FoldWeightNorm(Rule):
    """Magnitude and direction of a weight-normed layer become its weight: w = v * (g / |v|) (Salimans & Kingma 2016).

    `module` is the layer's path, `dim` the axis of `g`. Both of torch's forms are taken: `weight_g` and `weight_v`
    (torch.nn.utils.weight_norm), `parametrizations.weight.original0` and `.original1` (.parametrizations.weight_norm).
    """

    module: str
    target: str
    layout: str | None = None
    dim: int = 0

    @property
    def forms(self) -> tuple[tuple[str, ...], ...]:
        return (
            (f"{self.module}.weight_g", f"{self.module}.weight_v"),
            (
                f"{self.module}.parametrizations.weight.original0",
                f"{self.module}.parametrizations.weight.original1",
            ),
        )

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.target,)

    def shapes(self, shapes: list[Shape]) -> list[Shape]:
        g, v = shapes
        if g != tuple(n if i == self.dim else 1 for i, n in enumerate(v)):
            raise WeightMapError(f"weight norm over axis {self.dim}: magnitude {g} does not fit direction {v}")
        return [_laid_shape(self.layout, v)]

    def compute(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        g, v = (a.astype(np.float32) for a in arrays)
        axes = tuple(i for i in range(v.ndim) if i != self.dim)
        with np.errstate(all="ignore"):  # a direction of zeros or of huge numbers gives what it gives in torch
            norm = np.sqrt(np.sum(np.square(v, dtype=np.float64), axis=axes, keepdims=True)).astype(np.float32)
            weight = (v * (g / norm)).astype(arrays[1].dtype)
        return [_laid_out(self.layout, weight)]

    @property
    def action(self) -> str:
        return "fold weight norm" + (f", {self.layout}" if self.layout else "")


@dataclass(frozen=True)
class Means(Rule):
    """Sums of vectors, and how many were added up for each, become their means (the codebooks of EnCodec and Mimi).

    Attributes:
        sums: (vectors, dimensions).
        usage: (vectors,), taken to be at least `least`.
    """

    sums: str
    usage: str
    target: str
    least: float

    @property
    def forms(self) -> tuple[tuple[str, ...], ...]:
        return ((self.usage, self.sums),)

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.target,)

    def shapes(self, shapes: list[Shape]) -> list[Shape]:
        usage, sums = shapes
        if len(sums) != 2 or usage != sums[:1]:
            raise WeightMapError(f"usage {usage} does not fit sums {sums}")
        return [sums]

    def compute(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        usage, sums = (a.astype(np.float32) for a in arrays)
        return [(sums / np.maximum(usage, np.float32(self.least))[:, None]).astype(arrays[1].dtype)]

    @property
    def action(self) -> str:
        return "means of sums"


@dataclass(frozen=True)
class Drop(Rule):
    """Source tensors that the model does not need, with the reason and, where known, how many there must be."""

    source: str
    reason: str
    count: int | None = None

    @property
    def forms(self) -> tuple[tuple[str, ...], ...]:
        return ((self.source,),)

    @property
    def action(self) -> str:
        return f"drop: {self.reason}"


@dataclass(frozen=True)
class Tied(Rule):
    """A source tensor that must equal another one, which the model keeps. Checked bit by bit, then dropped."""

    source: str
    to: str
    optional: bool = field(default=True, kw_only=True)

    @property
    def forms(self) -> tuple[tuple[str, ...], ...]:
        return ((self.source,),)

    @property
    def action(self) -> str:
        return f"drop: tied to {self.to}"
