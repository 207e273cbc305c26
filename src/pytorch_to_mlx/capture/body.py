"""What one call of a module comes to in source, before classes are made of calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sympy
import torch
from torch import fx

from pytorch_to_mlx.capture.code import Slots, as_code
from pytorch_to_mlx.capture.names import free_name
from pytorch_to_mlx.capture.sizes import expression, local_symbol, size_name
from pytorch_to_mlx.capture.tree import Call


@dataclass
class Line:
    """A line of `__call__`, and the shape that a comment tells.

    Attributes:
        read: of a line that reads sizes: the array, and the variable of each axis that is read.
    """

    text: str
    shape: tuple[str, ...] | None = None
    read: tuple[str, dict[int, str]] | None = None


@dataclass
class Body:
    """What one call comes to, before it is known which calls share a class.

    Attributes:
        arguments: of `__call__`, of the shapes `shapes`.
    """

    arguments: list[str]
    lines: list[Line]
    slots: Slots
    shapes: list[tuple[str, ...]]

    def skeleton(self) -> tuple:
        """Equal for calls that differ in numbers alone."""
        return tuple(self.arguments), tuple(line.text for line in self.lines)


class MissingSizeError(Exception):
    """A size is needed where no shape tells it any more."""

    def __init__(self, size: sympy.Expr) -> None:
        super().__init__(str(size))
        self.size = size


@dataclass
class Made:
    """How a module is called; `unpack` as of a `Layer`, `method` where it is not `__call__`.

    Attributes:
        sizes: numbers that it is given beside its inputs, since the shapes of those do not tell them.
    """

    inputs: Sequence[fx.Node]
    outputs: Sequence[fx.Node]
    unpack: Sequence[fx.Node | None] = ()
    method: str = ""
    sizes: Sequence[sympy.Expr] = ()


def told_sizes(call: Call) -> list[sympy.Expr]:
    """The sizes that the shapes of a call's arguments tell, in their order."""
    shapes = (node.meta["val"].shape for node in call.inputs if isinstance(node.meta["val"], torch.Tensor))
    return list(dict.fromkeys(expression(size) for shape in shapes for size in shape))


def local_sizes(call: Call, dimensions: Mapping[sympy.Symbol, str]) -> dict[sympy.Expr, sympy.Symbol]:
    """What to call the sizes of the arguments, in comments too: `height` is that of what the module is given."""
    if call.parent is None:
        return {symbol: local_symbol(name) for symbol, name in dimensions.items()}
    told = sorted((size for size in told_sizes(call) if not size.is_number), key=lambda size: not size.is_Symbol)
    local: dict[sympy.Expr, sympy.Symbol] = {}
    for size in told:
        taken = set(map(str, local.values()))
        local[size] = local_symbol(free_name(size_name(size, dimensions), taken))
    return local


def result_text(results: Any, text_of: Callable[[Any], str], top: bool = False) -> str:
    """The expression of what the model returns, in its structure; `text_of` writes the leaves."""
    if isinstance(results, dict):
        inner = ", ".join(f"{as_code(key).text}: {result_text(value, text_of)}" for key, value in results.items())
        return f"{{{inner}}}"
    if not isinstance(results, tuple | list):
        return text_of(results)
    texts = [result_text(value, text_of) for value in results]
    if isinstance(results, list):
        return f"[{', '.join(texts)}]"
    if len(texts) == 1:
        return f"({texts[0]},)"
    return ", ".join(texts) if top and texts else f"({', '.join(texts)})"
