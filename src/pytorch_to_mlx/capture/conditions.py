"""What torch found out about dynamic sizes while it traced: where it does not hold, the model does something else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import CodeType
from typing import Any

import sympy
import torch
from torch.utils._sympy.printers import PythonPrinter

from pytorch_to_mlx.capture.state import Program
from pytorch_to_mlx.captured import Allowed

TORCH = Path(torch.__file__).parent
SMALLEST = 2  # torch traces dynamic sizes as larger than 1
LOOKED_AT = 512  # how far beyond the example's size conditions are read off


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
        good = [n for n in range(SMALLEST, end if about else 0) if all(_holds(c, {str(symbol): n}) for c in codes)]
        if not good or len(good) == end - SMALLEST:
            continue
        step = min((b - a for a, b in pairwise(good)), default=1)
        first = SMALLEST <= good[0] < SMALLEST + step and good[0] % step == 0
        endless = good[-1] + step >= end
        found[name] = Allowed(None if first else good[0], None if endless else good[-1], step)
    return found


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
    return Path(getattr(where, "filename", TORCH / "")).is_relative_to(TORCH)
