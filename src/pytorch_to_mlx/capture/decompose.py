"""Operators without a lowering that torch itself writes in terms of others: its own decompositions, and windows."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch._decomp import core_aten_decompositions, decomposition_table

from pytorch_to_mlx.capture import windows
from pytorch_to_mlx.capture.operators import INEXPRESSIBLE, LOWERINGS

# Of these torch's compiler keeps the operator, so that they are not in its core table.
ALSO = ("dist.default", "native_group_norm.default", "unfold.default")


@cache
def decompositions() -> dict[torch._ops.OpOverload, Callable[..., Any]]:
    """What to decompose, and how: each functional operator that has neither a lowering nor a primitive that MLX lacks.

    Composites that have a lowering stay whole, since that is what a person would have written.
    """
    known = dict(core_aten_decompositions().items()) | windows.decompositions()
    for name in ALSO:
        packet, _, overload = name.partition(".")
        operator = getattr(getattr(torch.ops.aten, packet), overload)
        known.setdefault(operator, decomposition_table[operator])
    return {
        operator: how
        for operator, how in known.items()
        if isinstance(operator, torch._ops.OpOverload)
        and not operator._schema.is_mutable
        and str(operator) not in LOWERINGS
        and str(operator) not in INEXPRESSIBLE
    }


def table() -> dict[Any, Callable[..., Any]]:
    """A copy of `decompositions()` for `ExportedProgram.run_decompositions`, which empties what it is given."""
    return dict(decompositions())
