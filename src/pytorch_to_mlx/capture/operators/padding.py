"""Padding, in any layout: every axis has its widths."""

from __future__ import annotations

from typing import Any

import torch

from pytorch_to_mlx.capture.code import Code, as_code, call, item
from pytorch_to_mlx.capture.emitter import Emitter, Tensor
from pytorch_to_mlx.capture.operators.registry import lowers
from pytorch_to_mlx.capture.sizes import expression

MODES = ("reflect", "replicate", "circular", "constant")  # by the numbers of ATen's enumeration


@lowers("constant_pad_nd.default")
def constant_pad(e: Emitter, x: Tensor, given: list[Any], value: Any = 0) -> Code:
    return padded(e, x, given, "constant", value)


@lowers("pad.default", "_pad_enum.default")
def pad(e: Emitter, x: Tensor, given: list[Any], mode: Any, value: Any = None) -> Code:
    return padded(e, x, given, MODES[mode] if isinstance(mode, int) else mode, value)


@lowers("reflection_pad1d.default", "reflection_pad2d.default", "reflection_pad3d.default")
def reflection_pad(e: Emitter, x: Tensor, given: list[Any]) -> Code:
    return padded(e, x, given, "reflect")


@lowers("replication_pad1d.default", "replication_pad2d.default", "replication_pad3d.default")
def replication_pad(e: Emitter, x: Tensor, given: list[Any]) -> Code:
    return padded(e, x, given, "replicate")


@lowers("_pad_circular.default")
def circular_pad(e: Emitter, x: Tensor, given: list[Any]) -> Code:
    return padded(e, x, given, "circular")


def padded(e: Emitter, x: Tensor, given: list[Any], mode: str, value: Any = None) -> Code:
    """x with `given` widths, of the last axis first as torch has them, by MLX's own function where it can do it."""
    pairs = [(0, 0)] * (x.ndim - len(given) // 2)
    pairs += [(given[place], given[place + 1]) for place in range(len(given) - 2, -1, -2)]
    widths = [expression(width) for pair in pairs for width in pair]
    if all(width == 0 for width in widths):
        return x
    grows, crops = (all(getattr(w, sign) for w in widths) for sign in ("is_nonnegative", "is_nonpositive"))
    fixed = all(before.is_number and after.is_number for before, after in zip(widths[::2], widths[1::2], strict=True))
    if crops and fixed and mode != "reflect":  # a size that may be 0 is no end of a slice
        kept = [f"{_text(e, before, '-')}:{_text(e, after, '')}" for before, after in pairs]
        while kept[-1] == ":":
            kept.pop()
        return item(x, ", ".join(kept))
    listed = as_code([as_code(tuple(e.size(width, "padding") for width in pair)) for pair in pairs])
    fill = None if value is None or value == 0 else _fill(e, value, x.dtype)
    if grows and mode == "constant":
        return call("mx.pad", x, listed, constant_values=fill)
    if grows and mode == "replicate":
        return call("mx.pad", x, listed, mode="edge")
    if mode == "constant":
        return e.runtime("pad", x, listed, value=fill)
    return e.runtime("pad", x, listed, mode=mode)


def _fill(e: Emitter, value: Any, dtype: torch.dtype) -> Code:
    """The value as torch converts it to the tensor's dtype."""
    if dtype == torch.bool:
        return as_code(bool(value))
    if isinstance(value, complex):
        return Code(repr(value)) if value.imag else e.literal(value.real, "value")
    return e.literal(value if dtype.is_floating_point or dtype.is_complex else int(value), "value")


def _text(e: Emitter, width: Any, sign: str) -> str:
    """An end of a slice that leaves out -`width` elements."""
    if expression(width) == 0:
        return ""
    return e.size(-width if sign else width, "crop").text
