"""What torch found out about dynamic sizes while it traced: where it does not hold, the model does something else."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from types import CodeType
from typing import Any

import sympy
import torch
from torch.utils._sympy.printers import PythonPrinter

from pytorch_to_mlx.capture.places import is_torchs
from pytorch_to_mlx.capture.state import Program
from pytorch_to_mlx.captured import Allowed, Comparison, Relation

SMALLEST = 2  # torch traces dynamic sizes as larger than 1
LOOKED_AT = 512  # how far beyond the example's size conditions are read off one by one
DOUBLINGS = 24  # and then, from there


COMPARISONS: dict[type, Comparison] = {
    sympy.StrictLessThan: "<",
    sympy.LessThan: "<=",
    sympy.StrictGreaterThan: ">",
    sympy.GreaterThan: ">=",
    sympy.Equality: "==",
    sympy.Unequality: "!=",
}


def guards(program: Program, own: bool = False) -> list[sympy.Basic]:
    """Conditions on the inputs' sizes that the traced graph rests on; `own`: those that the model's own code asked."""
    environments: dict[int, Any] = {}
    for node in program.inputs:
        value = node.meta.get("val")
        for size in value.shape if isinstance(value, torch.Tensor) else ():
            if isinstance(size, torch.SymInt):
                environments[id(size.node.shape_env)] = size.node.shape_env
    found: dict[sympy.Basic, None] = {}
    for environment in environments.values():
        for guard in environment.guards:
            if own and _in_torch(guard):
                continue
            found[environment.replace(guard.expr)] = None
    return [each for each in found if each is not sympy.true]


def hold(conditions: Sequence[sympy.Basic], sizes: Mapping[sympy.Symbol, int]) -> bool:
    """Whether none of the conditions is violated."""
    numbers = {str(symbol): size for symbol, size in sizes.items()}
    return all(_holds(_code(each), numbers) for each in conditions if each.free_symbols <= sizes.keys())


def allowed(
    conditions: Sequence[sympy.Basic], names: Mapping[sympy.Symbol, str], example: Mapping[sympy.Symbol, int]
) -> dict[str, Allowed]:
    """Of each named size that conditions of its own restrict: which numbers, read off to beyond the example's."""
    found: dict[str, Allowed] = {}
    for symbol, name in names.items():
        about = [each for each in conditions if each.free_symbols == {symbol}]
        codes = [_code(each) for each in about]
        end = example.get(symbol, 0) + LOOKED_AT

        def fits(n: int, symbol: sympy.Symbol = symbol, codes: list[CodeType] = codes) -> bool:
            return all(_holds(code, {str(symbol): n}) for code in codes)

        good = [n for n in range(SMALLEST, end if about else 0) if fits(n)]
        if not good:
            continue
        step = min((b - a for a, b in pairwise(good)), default=1)
        first = SMALLEST <= good[0] < SMALLEST + step and good[0] % step == 0
        most = good[-1] if good[-1] + step < end else _most(fits, good[-1], step)
        if not first or most is not None or step > 1:
            found[name] = Allowed(None if first else good[0], most, step)
    return found


def _most(fits: Callable[[int], bool], good: int, step: int) -> int | None:
    """The last size that fits, of those beyond a `good` one; None where none is too large."""
    for doubling in range(DOUBLINGS):
        beyond = good + step * 2**doubling
        if fits(beyond):
            good = beyond
            continue
        while beyond - good > step:
            middle = good + (beyond - good) // (2 * step) * step
            good, beyond = (middle, beyond) if fits(middle) else (good, middle)
        return good
    return None


def relations(
    conditions: Sequence[sympy.Basic], names: Mapping[sympy.Symbol, str]
) -> tuple[tuple[Relation, ...], tuple[str, ...]]:
    """Conditions on several named sizes: those that compare sums, and the text of those that do not."""
    found, others = [], []
    for each in conditions:
        if len(each.free_symbols) < 2 or not each.free_symbols <= names.keys():
            continue
        terms = _linear(each)
        if terms is None:
            if isinstance(each, sympy.Equality | sympy.Unequality) or {*each.args} & {sympy.S.Zero, sympy.S.One}:
                continue  # torch's own questions, of views and of what is empty
            named = each.subs({symbol: sympy.Symbol(name) for symbol, name in names.items()})
            others.append(PythonPrinter().doprint(named))
            continue
        weights = {name: int(terms.coeff_monomial(symbol)) for symbol, name in names.items() if symbol in terms.gens}
        found.append(Relation(weights, int(terms.coeff_monomial(1)), COMPARISONS[type(each)]))
    return tuple(found), tuple(others)


def _linear(condition: Any) -> sympy.Poly | None:
    """What a comparison compares with 0, where that is a sum of sizes and a number."""
    if type(condition) not in COMPARISONS:
        return None
    try:
        terms = sympy.Poly(condition.lhs - condition.rhs, *sorted(condition.free_symbols, key=str))
    except sympy.PolynomialError:
        return None
    return terms if terms.total_degree() <= 1 and all(each.is_Integer for each in terms.coeffs()) else None


@cache
def _code(condition: sympy.Basic) -> CodeType:
    """Sympy itself would take a thousand times as long."""
    return compile(PythonPrinter().doprint(condition), "<condition>", "eval")


def _holds(code: CodeType, sizes: Mapping[str, int]) -> bool:
    try:
        return bool(eval(code, {"math": math, "torch": torch}, dict(sizes)))  # noqa: S307  (of our own text)
    except (NameError, TypeError, ArithmeticError):  # not for numbers like these
        return True


def _in_torch(guard: Any) -> bool:
    where = getattr(guard.sloc, "framework_loc", None)
    file = getattr(where, "filename", None)
    return file is None or is_torchs(file)
