"""Further inputs made from an example: other values of the same kind, and other sizes where sizes are dynamic."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy
import torch
from torch.utils import _pytree as pytree

from pytorch_to_mlx.capture.conditions import guards, hold
from pytorch_to_mlx.capture.sizes import evaluated, expression
from pytorch_to_mlx.capture.state import Program

NEARLY = 0.01  # how much larger a number becomes where it is repeated


@dataclass(frozen=True)
class Example:
    """Inputs of one case.

    Attributes:
        calls: how often the model is called with them; the last call is compared.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    calls: int = 1

    @property
    def tensors(self) -> list[torch.Tensor]:
        """The tensors among the inputs, in the order in which the captured model takes them."""
        return [leaf for leaf in pytree.tree_leaves((self.args, self.kwargs)) if isinstance(leaf, torch.Tensor)]

    def having(self, name: str, tensors: Sequence[torch.Tensor]) -> Example:
        """The same with other tensors."""
        given = iter(tensors)
        made = pytree.tree_map(
            lambda leaf: next(given) if isinstance(leaf, torch.Tensor) else leaf, (self.args, self.kwargs)
        )
        return Example(name, *made)


class Sizes:
    """How the sizes of a program's inputs depend on those that are dynamic; read before passes change the graph."""

    def __init__(self, program: Program) -> None:
        self.shapes = [
            [expression(size) for size in node.meta["val"].shape]
            for node in program.inputs
            if isinstance(node.meta.get("val"), torch.Tensor)
        ]
        self.conditions = guards(program)
        self.symbols: list[Any] = sorted(
            {symbol for shape in self.shapes for size in shape for symbol in size.free_symbols}, key=str
        )

    def of(self, tensors: Sequence[torch.Tensor]) -> dict[sympy.Symbol, int]:
        """The dynamic sizes of an example, where one stands alone in a shape."""
        return {
            symbol: int(size)
            for shape, tensor in zip(self.shapes, tensors, strict=True)
            for symbol, size in zip(shape, tensor.shape, strict=True)
            if isinstance(symbol, sympy.Symbol)
        }

    def candidates(self, tensors: Sequence[torch.Tensor]) -> Iterator[dict[sympy.Symbol, int]]:
        """Other sizes, until the model takes some: larger by different numbers, equal ones by the same, multiples."""
        now = self.of(tensors)
        different = {symbol: 1 + place for place, symbol in enumerate(now)}
        by_size = {size: 1 + place for place, size in enumerate(sorted(set(now.values())))}
        yield {symbol: size + different[symbol] for symbol, size in now.items()}
        yield {symbol: size + different[symbol] + max(size // 2, 1) for symbol, size in now.items()}
        yield {symbol: size + by_size[size] for symbol, size in now.items()}
        yield {symbol: 2 * size for symbol, size in now.items()}
        yield {symbol: size + max(size // 2, 1) for symbol, size in now.items()}
        yield {symbol: size + 1 if size == min(now.values()) else size for symbol, size in now.items()}
        yield {symbol: 3 * size for symbol, size in now.items()}

    def resized(
        self, example: Example, sizes: Mapping[sympy.Symbol, int], name: str, *, freely: bool = False
    ) -> Example | None:
        """The example's own values, repeated up to other sizes; None where torch's conditions on sizes do not hold.

        `freely`: whether they hold or not.
        """
        made = []
        if not freely and not hold(self.conditions, sizes):
            return None
        for shape, tensor in zip(self.shapes, example.tensors, strict=True):
            for axis, size in enumerate(shape):
                wanted = evaluated(size, sizes)
                if wanted is None or wanted < 1:
                    return None
                if wanted != tensor.shape[axis]:
                    tensor = _stretched(tensor, axis, wanted)
            made.append(tensor)
        return example.having(name, made)


def _stretched(tensor: torch.Tensor, axis: int, wanted: int) -> torch.Tensor:
    """So many elements along an axis: repeated, and nearly so where equal ones would be found in another order."""
    size = max(tensor.shape[axis], 1)
    longer = tensor.index_select(axis, torch.arange(wanted) % size)
    if wanted > size and tensor.is_floating_point() and not bool((tensor == tensor.round()).all()):
        repeated = longer.narrow(axis, size, wanted - size)
        generator = torch.Generator().manual_seed(0)
        repeated *= 1 + NEARLY * torch.rand(repeated.shape, generator=generator, dtype=torch.float64).to(tensor.dtype)
    return longer


def other_values(example: Example, share: float = 1.0, seed: int = 0, kept: Container[int] = ()) -> Example:
    """The same shapes: normal numbers of the example's mean and spread; integers and truth values in another order.

    Args:
        example: the one that they are like.
        share: how much of a floating-point number is new; the rest is the example's. More than 1 leads further away
            from the example than its own numbers are from one another.
        seed: of the numbers.
        kept: which of the tensors stay as they are, by their places.
    """
    rng = np.random.default_rng(seed)

    def drawn(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.numel():
            return tensor
        if not tensor.is_floating_point():
            return tensor.reshape(-1)[torch.from_numpy(rng.permutation(tensor.numel()))].reshape(tensor.shape)
        values = torch.nan_to_num(tensor.detach().double(), posinf=0, neginf=0)
        spread = float(values.std(correction=0)) or abs(float(values.mean())) * 0.1 or 1.0
        if bool((tensor == tensor.round()).all()):  # a mask in floating point, perhaps
            return tensor.reshape(-1)[torch.from_numpy(rng.permutation(tensor.numel()))].reshape(tensor.shape)
        noise = torch.from_numpy(rng.standard_normal(tuple(tensor.shape)))
        drawn = float(values.mean()) + spread * noise
        return (share * drawn + (1 - share) * values).to(tensor.dtype)

    tensors = enumerate(example.tensors)
    return example.having("other values", [tensor if place in kept else drawn(tensor) for place, tensor in tensors])
