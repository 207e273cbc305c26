"""Operators on arrays without elements: their results are constants, which the source says instead of computing them.

MLX 0.32.4 reads past its own arrays in some reductions over nothing, and may not end.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from pytorch_to_mlx.capture.clean import has_effect, same_size
from pytorch_to_mlx.capture.code import Code, call
from pytorch_to_mlx.capture.emitter import Emitter


def of_nothing(e: Emitter, node: fx.Node) -> Code | tuple[Code, ...] | None:
    """The expression of a node that has no elements, or is computed from none; None where there are some."""
    several = isinstance(e.out, tuple | list)
    results = list(e.out) if several else [e.out]
    if has_effect(node) or not results or not all(isinstance(each, torch.Tensor) for each in results):
        return None
    if all(map(_is_empty, results)):
        made = [call("mx.zeros", e.shape(each.shape), dtype=e.dtype(each.dtype)) for each in results]
    else:
        sources = [each.meta.get("val") for each in node.all_input_nodes]
        if not sources or not all(isinstance(each, torch.Tensor) and _is_empty(each) for each in sources):
            return None
        values = _computed(node)
        if values is None:
            return None
        made = [
            call("mx.full", e.shape(each.shape), e.literal(value), dtype=e.dtype(each.dtype))
            for each, value in zip(results, values, strict=True)
        ]
    return tuple(made) if several else made[0]


def _is_empty(value: torch.Tensor) -> bool:
    return any(same_size(size, 0) for size in value.shape)


def _computed(node: fx.Node) -> list[Any] | None:
    """The one number that each result consists of."""

    def nothing(source: fx.Node) -> torch.Tensor:
        value = source.meta["val"]
        return torch.zeros([int(size) for size in value.shape], dtype=value.dtype)

    target: Any = node.target
    try:
        found = target(*fx.map_arg(node.args, nothing), **fx.map_arg(node.kwargs, nothing))  # type: ignore[misc]
    except Exception:  # torch's own checks, or a size that is not known yet
        return None
    leaves = [each.detach().reshape(-1) for each in pytree.tree_leaves(found)]
    if any(each.is_complex() or not each.numel() or not _is_uniform(each) for each in leaves):
        return None
    return [each[0].item() for each in leaves]


def _is_uniform(value: torch.Tensor) -> bool:
    return bool((value == value[0]).all()) or bool(torch.isnan(value).all())
