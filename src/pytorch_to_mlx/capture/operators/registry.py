"""The table of lowerings: from an operator of ATen to a function that writes an MLX expression for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Lowering = Callable[..., Any]
F = TypeVar("F", bound=Lowering)

LOWERINGS: dict[str, Lowering] = {}
"""By name, as `aten.add.Tensor`."""

INEXPRESSIBLE: dict[str, str] = {}
"""Operators that MLX cannot express: the primitive that is missing."""


def lowers(*operators: str) -> Callable[[F], F]:
    """Register a lowering of ATen's `operators`, such as "add.Tensor", or of functions by their whole names.

    It is called with an `Emitter` and the operator's arguments: those that can be given by position, in the order of
    the schema with all defaults filled in, then those that cannot, by name. Tensors are `Tensor`s, sizes `Code` or
    int. It returns a `Code`, or for operators of several results a tuple of them or one `Code` of a tuple.
    """

    def register(function: F) -> F:
        for operator in operators:
            full = operator if operator.count(".") >= 2 else f"aten.{operator}"
            if full in LOWERINGS:
                raise ValueError(f"{full} has two lowerings")
            LOWERINGS[full] = function
        return function

    return register


def missing(primitive: str, *operators: str) -> None:
    """Say that MLX cannot express `operators`, for want of `primitive`."""
    INEXPRESSIBLE.update({f"aten.{operator}": primitive for operator in operators})


SPATIAL: dict[str, int] = {}
"""Operators on images, by how many spatial axes these have; the layout pass makes their images channels-last."""


def spatial(rank: int, *operators: str) -> Callable[[F], F]:
    """Register a lowering of operators whose image and results are (batch, *spatial, channels) when lowered."""

    def register(function: F) -> F:
        SPATIAL.update({operator if operator.count(".") == 2 else f"aten.{operator}": rank for operator in operators})
        return lowers(*operators)(function)

    return register
