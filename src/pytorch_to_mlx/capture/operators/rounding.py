"""Rounding, and the divisions that round."""

from __future__ import annotations

from typing import Any

from pytorch_to_mlx.capture.code import Code, binary, call
from pytorch_to_mlx.capture.emitter import Emitter, Tensor
from pytorch_to_mlx.capture.operators.elementwise import div, operand
from pytorch_to_mlx.capture.operators.registry import lowers


def _rounding(function: str, *names: str) -> None:
    @lowers(*(f"{name}.default" for name in names))
    def lower(e: Emitter, x: Tensor) -> Code:
        return call(function, x) if x.is_floating else x


_rounding("mx.floor", "floor")
_rounding("mx.ceil", "ceil")
_rounding("mx.trunc", "trunc", "fix")
_rounding("mx.round", "round")


@lowers("round.decimals")
def round_decimals(e: Emitter, x: Tensor, *, decimals: int = 0) -> Code:
    if not x.is_floating:
        return x
    return call("mx.round", x) if decimals == 0 else e.runtime("round_decimals", x, e.literal(decimals, "decimals"))


@lowers("frac.default")
def frac(e: Emitter, x: Tensor) -> Code:
    return e.runtime("frac", x)


@lowers("div.Tensor_mode", "div.Scalar_mode", "divide.Tensor_mode", "divide.Scalar_mode")
def div_mode(e: Emitter, a: Any, b: Any, *, rounding_mode: str | None = None) -> Code:
    if rounding_mode is None:
        return div(e, a, b)
    if rounding_mode == "floor":
        return floor_divide(e, a, b)
    if e.out.dtype.is_floating_point:
        return e.as_result(call("mx.trunc", binary("/", operand(e, a), operand(e, b))), a, b)
    return e.as_result(e.runtime("truncating_divide", operand(e, a), operand(e, b)), a, b)


@lowers("floor_divide.default", "floor_divide.Scalar")
def floor_divide(e: Emitter, a: Any, b: Any) -> Code:
    if e.out.dtype.is_floating_point:
        return e.as_result(e.runtime("floor_divide", operand(e, a), operand(e, b)), a, b)
    return e.as_result(binary("//", operand(e, a), operand(e, b)), a, b)


@lowers("remainder.Tensor", "remainder.Scalar", "remainder.Scalar_Tensor")
def remainder(e: Emitter, a: Any, b: Any) -> Code:
    return e.as_result(binary("%", operand(e, a), operand(e, b)), a, b)


@lowers("fmod.Tensor", "fmod.Scalar")
def fmod(e: Emitter, a: Any, b: Any) -> Code:
    return e.as_result(e.runtime("fmod", operand(e, a), operand(e, b)), a, b)
