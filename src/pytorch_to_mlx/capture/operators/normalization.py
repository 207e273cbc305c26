"""Norms over channels-last images and sequences."""

from __future__ import annotations

from typing import Any

from pytorch_to_mlx.capture.code import Code, as_code
from pytorch_to_mlx.capture.emitter import Emitter, Tensor
from pytorch_to_mlx.capture.operators.registry import spatial
from pytorch_to_mlx.errors import CaptureError


@spatial(-1, "batch_norm.default")
def batch_norm(
    e: Emitter,
    x: Tensor,
    weight: Any,
    bias: Any,
    mean: Any,
    variance: Any,
    training: bool,
    momentum: float,
    eps: float,
    _: bool,
) -> Code:
    if training or mean is None:
        return e.runtime("batch_norm", x, weight=weight, bias=bias, eps=e.literal(eps, "eps"))
    return e.runtime("batch_norm", x, mean, variance, weight=weight, bias=bias, eps=e.literal(eps, "eps"))


@spatial(-1, "_native_batch_norm_legit.no_stats")
def batch_norm_of_batch(
    e: Emitter, x: Tensor, weight: Any, bias: Any, training: bool, momentum: float, eps: float
) -> tuple[Code, ...]:
    if e.uses(1) or e.uses(2):
        raise CaptureError("batch norm: its batch's own mean and variance are for training; call eval() on the module")
    return (e.runtime("batch_norm", x, weight=weight, bias=bias, eps=e.literal(eps, "eps")), Code("None"), Code("None"))


@spatial(-1, "group_norm.default")
def group_norm(e: Emitter, x: Tensor, groups: int, weight: Any, bias: Any, eps: float, _: bool) -> Code:
    return e.runtime("group_norm", x, e.literal(groups, "groups"), weight=weight, bias=bias, eps=e.literal(eps, "eps"))


@spatial(-1, "instance_norm.default")
def instance_norm(
    e: Emitter,
    x: Tensor,
    weight: Any,
    bias: Any,
    mean: Any,
    variance: Any,
    own: bool,
    momentum: float,
    eps: float,
    _: bool,
) -> Code:
    if not own:
        return e.runtime("batch_norm", x, mean, variance, weight=weight, bias=bias, eps=e.literal(eps, "eps"))
    return e.runtime("instance_norm", x, weight=weight, bias=bias, eps=e.literal(eps, "eps"))


__all__ = ["as_code"]
