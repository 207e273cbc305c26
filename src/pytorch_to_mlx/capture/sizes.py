"""Sizes that follow from the inputs' shapes, as expressions of named dimensions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import sympy
import torch
from torch.utils._sympy.printers import PythonPrinter

from pytorch_to_mlx.capture.code import ATOM, PRODUCT, SUM, Code
from pytorch_to_mlx.capture.names import free_name

DIMENSIONS = {
    1: ("length",),
    2: ("batch", "length"),
    3: ("batch", "length", "width"),
    4: ("batch", "channels", "height", "width"),
    5: ("batch", "channels", "depth", "height", "width"),
}


def expression(size: Any) -> sympy.Expr:
    """A size as sympy has it."""
    return size.node.expr if isinstance(size, torch.SymInt | torch.SymFloat | torch.SymBool) else sympy.Integer(size)


def dimension_names(values: Sequence[torch.Tensor]) -> dict[sympy.Symbol, str]:
    """A name for each size that stands alone in the shape of an input."""
    names: dict[sympy.Symbol, str] = {}
    for value in values:
        known = DIMENSIONS.get(value.ndim, tuple(f"size_{axis}" for axis in range(value.ndim)))
        for axis, size in enumerate(value.shape):
            symbol = expression(size)
            if isinstance(symbol, sympy.Symbol) and symbol not in names:
                names[symbol] = free_name(known[axis], set(names.values()))
    return names


def size_code(expr: sympy.Expr, names: dict[sympy.Symbol, str]) -> Code:
    """The Python expression of a size."""
    if isinstance(expr, sympy.Integer):
        return Code(str(int(expr)))
    text = PythonPrinter().doprint(expr)
    for symbol in sorted(expr.free_symbols, key=lambda s: -len(str(s))):
        text = re.sub(rf"\b{re.escape(str(symbol))}\b", names[symbol], text)  # type: ignore[index]
    text = re.sub(r"\b(\d+)\*", r"\1 * ", text).replace("//", " // ")
    while text.startswith("(") and text.endswith(")") and _encloses(text):
        text = text[1:-1].strip()
    if text.isidentifier() or text.isdigit():
        return Code(text)
    return Code(
        text, SUM if isinstance(expr, sympy.Add) else PRODUCT if isinstance(expr, sympy.Mul) else min(SUM, ATOM)
    )


def shape_text(shape: Sequence[Any], names: dict[sympy.Symbol, str]) -> tuple[str, ...]:
    """The sizes of a shape for a comment."""
    texts = []
    for size in shape:
        expr = expression(size)
        known = all(symbol in names for symbol in expr.free_symbols)
        texts.append(size_code(expr, names).text if known else "?")
    return tuple(texts)


def _encloses(text: str) -> bool:
    depth = 0
    for place, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0 and place < len(text) - 1:
            return False
    return True


def axis_groups(before: Sequence[Any], after: Sequence[Any]) -> list[tuple[list[int], list[int]]] | None:
    """The least groups of neighbouring axes with equal numbers of elements in two shapes of one array.

    The example's sizes tell which side lacks an axis; that a group is complete must hold for all sizes.
    """
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(before) or j < len(after):
        ins = [i] if i < len(before) else []
        outs = [j] if j < len(after) else []
        i, j = i + len(ins), j + len(outs)
        while not _equal([before[axis] for axis in ins], [after[axis] for axis in outs]):
            fewer = _example(before[axis] for axis in ins) < _example(after[axis] for axis in outs)
            if i < len(before) and (fewer or j == len(after)):
                ins.append(i)
                i += 1
            elif j < len(after):
                outs.append(j)
                j += 1
            else:
                return None
        if ins and outs:
            groups.append((ins, outs))
        elif not groups:
            return None
        else:
            groups[-1][0].extend(ins)
            groups[-1][1].extend(outs)
    return groups


def _example(sizes: Iterable[Any]) -> int:
    """The product of sizes in the example."""
    return math.prod(size.node.hint if isinstance(size, torch.SymInt) else int(size) for size in sizes)


def _equal(some: Sequence[Any], others: Sequence[Any]) -> bool:
    """Whether two products of sizes are the same whatever the inputs' shapes."""
    if _example(some) != _example(others):
        return False
    a, b = (sympy.Mul(*map(expression, sizes)) for sizes in (some, others))
    return a == b or sympy.expand(a - b) == 0
