"""Sizes that follow from the inputs' shapes, as expressions of named dimensions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial, reduce
from typing import Any

import sympy
import torch
from torch.utils._sympy.functions import (
    CeilToInt,
    CleanDiv,
    FloatPow,
    FloatTrueDiv,
    FloorDiv,
    FloorToInt,
    IntTrueDiv,
    Max,
    Min,
    Mod,
    OpaqueUnaryFn_sqrt,
    PowByNatural,
    PythonMod,
    RoundToInt,
    ToFloat,
    TruncToInt,
)
from torch.utils._sympy.printers import PythonPrinter

from pytorch_to_mlx.capture.code import SUM, Code, as_code, binary, call, unary
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


def evaluated(expr: sympy.Expr, sizes: Mapping[sympy.Symbol, int]) -> int | None:
    """A size in numbers; None where it does not come to one."""
    found = expr.xreplace({symbol: sympy.Integer(number) for symbol, number in sizes.items()})
    return int(found) if isinstance(found, sympy.Integer) else None


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


def size_code(expr: sympy.Expr, names: Mapping[sympy.Expr, str]) -> Code:
    """The Python expression of a size; symbols without a name are written as they are."""
    if expr in names or expr.is_Symbol:
        return Code(names.get(expr, str(expr)))
    if expr.is_Integer:
        return as_code(int(expr))  # type: ignore[arg-type]
    if (quotient := as_quotient(expr)) is not None:
        return binary("//", *(size_code(each, names) for each in quotient))
    if isinstance(expr, sympy.Add):
        return _sum(expr, names)
    if isinstance(expr, sympy.Mul):
        sign, factors = (-1, -expr) if expr.could_extract_minus_sign() else (1, expr)
        parts = [size_code(each, names) for each in sympy.Mul.make_args(factors)]  # type: ignore[arg-type]
        product = reduce(partial(binary, "*"), parts)
        return product if sign > 0 else unary("-", product)
    if isinstance(expr, sympy.Pow) and expr.exp.is_Integer and expr.exp.is_positive:
        return binary("**", size_code(expr.base, names), int(expr.exp))
    if isinstance(expr, Mod | PythonMod):
        return binary("%", *(size_code(each, names) for each in expr.args))  # type: ignore[arg-type]
    if isinstance(expr, Max | Min):
        return call("max" if isinstance(expr, Max) else "min", *(size_code(each, names) for each in expr.args))  # type: ignore[arg-type]
    return _fractional(expr, names) or _printed(expr, names)


FRACTIONAL = (
    CeilToInt,
    FloatPow,
    FloatTrueDiv,
    FloorToInt,
    IntTrueDiv,
    OpaqueUnaryFn_sqrt,
    RoundToInt,
    ToFloat,
    TruncToInt,
)
WHOLE = (sympy.Add, sympy.Mul, sympy.Pow, FloorDiv, CleanDiv, Mod, PythonMod, PowByNatural, Max, Min)


def can_be_written(expr: sympy.Expr) -> bool:
    """Whether there is Python for a size."""
    return all(isinstance(each, WHOLE + FRACTIONAL) or not each.args for each in sympy.preorder_traversal(expr))


def _fractional(expr: sympy.Expr, names: Mapping[sympy.Expr, str]) -> Code | None:
    """What leads to a size by way of a fraction, which sizes keep from being negative."""
    if expr.is_Float:
        return as_code(float(expr))
    if not isinstance(expr, FRACTIONAL):
        return None
    first, *rest = (size_code(each, names) for each in expr.args)  # type: ignore[arg-type]
    if isinstance(expr, ToFloat):
        return first
    if isinstance(expr, OpaqueUnaryFn_sqrt):
        return binary("**", first, 0.5)
    if isinstance(expr, FloatTrueDiv | IntTrueDiv | FloatPow):
        return binary("**" if isinstance(expr, FloatPow) else "/", first, *rest)
    if isinstance(expr, CeilToInt):
        return unary("-", call("int", binary("//", unary("-", first), 1)))
    if isinstance(expr, FloorToInt):
        return call("int", binary("//", first, 1))
    return call("round" if isinstance(expr, RoundToInt) else "int", first)


def _sum(expr: sympy.Add, names: Mapping[sympy.Expr, str]) -> Code:
    """What is added first, what is subtracted then, a number last."""
    terms = sorted(expr.args, key=lambda term: (bool(term.is_Integer), term.could_extract_minus_sign(), str(term)))
    total = size_code(terms[0], names)  # type: ignore[arg-type]
    for term in terms[1:]:
        less = term.could_extract_minus_sign()
        total = binary("-" if less else "+", total, size_code(-term if less else term, names))  # type: ignore[arg-type]
    return total


def _printed(expr: sympy.Expr, names: Mapping[sympy.Expr, str]) -> Code:
    text = PythonPrinter().doprint(expr)
    for symbol in sorted(expr.free_symbols, key=lambda s: -len(str(s))):
        text = re.sub(rf"\b{re.escape(str(symbol))}\b", names.get(symbol, str(symbol)), text)  # type: ignore[call-overload]
    return Code(text, SUM)


def as_quotient(expr: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr] | None:
    """Numerator and divisor of a size that is one floor division, as 1 + (n - 1) // 2 is (n + 1) // 2."""
    number, rest = expr.as_coeff_Add()
    if not isinstance(rest, FloorDiv) or not number.is_Integer:
        return None
    numerator, divisor = rest.args
    if not divisor.is_Integer and number != 0:
        return None
    return sympy.expand(numerator + number * divisor), divisor  # type: ignore[return-value, operator]


def relative_to(expr: sympy.Expr, base: sympy.Expr, known: sympy.Symbol) -> sympy.Expr | None:
    """`expr` as a floor division of `base`, which `known` stands for: (n + 7) // 8 of (n + 3) // 4."""
    quotient, inner = as_quotient(expr), as_quotient(base)
    if quotient is None or inner is None or not (quotient[1].is_Integer and inner[1].is_Integer):
        return None
    if quotient[1] % inner[1] != 0:  # type: ignore[operator]
        return None
    shift = sympy.expand(quotient[0] - inner[0]) / inner[1]
    return FloorDiv(known + shift, quotient[1] / inner[1]) if shift.is_Integer else None  # type: ignore[return-value]


def localised(expr: sympy.Expr, known: Mapping[sympy.Expr, sympy.Symbol]) -> sympy.Expr:
    """`expr` in terms of sizes that have a symbol of their own."""
    if expr in known or not expr.args:
        return known.get(expr, expr)
    for base, symbol in known.items():
        if (found := relative_to(expr, base, symbol)) is not None:
            return found
    return expr.func(*(localised(each, known) for each in expr.args))  # type: ignore[arg-type]


def local_symbol(name: str) -> sympy.Symbol:
    """What stands for a size that has a name."""
    return sympy.Symbol(name, integer=True, positive=True)


def size_name(expr: sympy.Expr, names: Mapping[sympy.Symbol, str]) -> str:
    """What to call a size: as the dimension that it follows from."""
    found = sorted({names.get(symbol, "size") for symbol in expr.free_symbols})  # type: ignore[call-overload]
    return found[0] if len(found) == 1 else "length" if found == ["height", "width"] else "size"


def shape_text(shape: Sequence[Any], names: Mapping[sympy.Symbol, str]) -> tuple[str, ...]:
    """The sizes of a shape for a comment."""
    return tuple(size_text(expression(size), names) for size in shape)


def size_text(expr: sympy.Expr, names: Mapping[sympy.Symbol, str]) -> str:
    """A size for a comment."""
    known = all(symbol in names for symbol in expr.free_symbols)
    return size_code(expr, names).text if known else "?"  # type: ignore[arg-type]


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
            fewer = example_product(before[axis] for axis in ins) < example_product(after[axis] for axis in outs)
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


def in_example(size: Any) -> int:
    """What a size is in the example."""
    return size.node.hint if isinstance(size, torch.SymInt) else int(size)


def example_product(sizes: Iterable[Any]) -> int:
    """The product of sizes in the example."""
    return math.prod(in_example(size) for size in sizes)


def _equal(some: Sequence[Any], others: Sequence[Any]) -> bool:
    """Whether two products of sizes are the same whatever the inputs' shapes."""
    if example_product(some) != example_product(others):
        return False
    a, b = (sympy.Mul(*map(expression, sizes)) for sizes in (some, others))
    return a == b or sympy.expand(a - b) == 0
