"""Arithmetic, comparisons and functions of single numbers."""

from __future__ import annotations

from typing import Any

import torch

from pytorch_to_mlx.capture.code import Code, binary, call, method, unary
from pytorch_to_mlx.capture.emitter import DTYPES, Emitter, Tensor, promoted
from pytorch_to_mlx.capture.operators.registry import lowers


def operand(e: Emitter, value: Any) -> Any:
    """A tensor's expression, or a number's."""
    return value if isinstance(value, Tensor) else e.literal(value)


def _arithmetic(operator: str, *names: str) -> None:
    @lowers(*names)
    def lower(e: Emitter, a: Any, b: Any) -> Code:
        return e.as_result(binary(operator, operand(e, a), operand(e, b)), a, b)


def _comparison(operator: str, *names: str) -> None:
    @lowers(*names)
    def lower(e: Emitter, a: Any, b: Any) -> Code:
        return binary(operator, operand(e, a), operand(e, b))


@lowers("add.Tensor", "add.Scalar")
def add(e: Emitter, a: Any, b: Any, alpha_: Any = 1, *, alpha: Any = 1) -> Code:
    return _scaled_sum(e, "+", a, b, alpha if alpha != 1 else alpha_)


@lowers("sub.Tensor", "sub.Scalar")
def sub(e: Emitter, a: Any, b: Any, alpha_: Any = 1, *, alpha: Any = 1) -> Code:
    return _scaled_sum(e, "-", a, b, alpha if alpha != 1 else alpha_)


@lowers("rsub.Tensor", "rsub.Scalar")
def rsub(e: Emitter, a: Any, b: Any, alpha_: Any = 1, *, alpha: Any = 1) -> Code:
    alpha = alpha if alpha != 1 else alpha_
    if alpha == 1:
        return e.as_result(binary("-", operand(e, b), operand(e, a)), b, a)
    return e.as_result(binary("-", operand(e, b), binary("*", e.literal(alpha), a)), b, a)


def _scaled_sum(e: Emitter, operator: str, a: Any, b: Any, alpha: Any) -> Code:
    if e.out.dtype == torch.bool and operator == "+":
        return binary("|", a, operand(e, b)) if alpha else as_bool(e, a)
    if alpha == 1:
        return e.as_result(binary(operator, operand(e, a), operand(e, b)), a, b)
    if not isinstance(b, Tensor):
        return e.as_result(binary(operator, operand(e, a), e.literal(alpha * b)), a, b)
    return e.as_result(binary(operator, operand(e, a), binary("*", e.literal(alpha), b)), a, b)


def as_bool(e: Emitter, x: Tensor) -> Code:
    """A tensor as truth values."""
    return x if x.dtype == torch.bool else binary("!=", x, 0)


@lowers("mul.Tensor", "mul.Scalar")
def mul(e: Emitter, a: Any, b: Any) -> Code:
    if e.out.dtype == torch.bool:
        return binary("&", a, operand(e, b))
    return e.as_result(binary("*", operand(e, a), operand(e, b)), a, b)


@lowers("div.Tensor", "div.Scalar", "true_divide.Tensor")
def div(e: Emitter, a: Any, b: Any) -> Code:
    return e.cast(binary("/", operand(e, a), operand(e, b)), promoted(a, b, 1.0), e.out.dtype)


_arithmetic("&", "bitwise_and.Tensor", "bitwise_and.Scalar", "__and__.Tensor", "__and__.Scalar")
_arithmetic("|", "bitwise_or.Tensor", "bitwise_or.Scalar", "__or__.Tensor", "__or__.Scalar")
_arithmetic("^", "bitwise_xor.Tensor", "bitwise_xor.Scalar", "__xor__.Tensor", "__xor__.Scalar")
_comparison("==", "eq.Tensor", "eq.Scalar")
_comparison("!=", "ne.Tensor", "ne.Scalar")
_comparison("<", "lt.Tensor", "lt.Scalar")
_comparison("<=", "le.Tensor", "le.Scalar")
_comparison(">", "gt.Tensor", "gt.Scalar")
_comparison(">=", "ge.Tensor", "ge.Scalar")


@lowers("neg.default")
def neg(e: Emitter, x: Tensor) -> Code:
    return unary("-", x)


@lowers("bitwise_not.default", "logical_not.default")
def invert(e: Emitter, x: Tensor) -> Code:
    if x.dtype == torch.bool:
        return unary("~", x)
    return unary("~", x) if e.out.dtype != torch.bool else binary("==", x, 0)


@lowers("logical_and.default")
def logical_and(e: Emitter, a: Tensor, b: Tensor) -> Code:
    return binary("&", as_bool(e, a), as_bool(e, b))


@lowers("logical_or.default")
def logical_or(e: Emitter, a: Tensor, b: Tensor) -> Code:
    return binary("|", as_bool(e, a), as_bool(e, b))


@lowers("logical_xor.default")
def logical_xor(e: Emitter, a: Tensor, b: Tensor) -> Code:
    return binary("!=", as_bool(e, a), as_bool(e, b))


def _function(function: str, *names: str) -> None:
    """A function of one tensor whose result is a floating-point number, so that integers are converted first."""

    @lowers(*names)
    def lower(e: Emitter, x: Tensor) -> Code:
        wide = x if x.is_floating else e.cast(x, x.dtype, e.out.dtype)
        return call(function, wide)


for _name in (
    "sqrt",
    "rsqrt",
    "log",
    "log2",
    "log10",
    "log1p",
    "exp",
    "expm1",
    "sin",
    "cos",
    "tan",
    "sinh",
    "cosh",
    "erf",
):
    lowered = _name in ("exp", "sin")
    _function(f"runtime.{_name}" if lowered else f"mx.{_name}", f"{_name}.default")
for _name in ("asin", "acos", "atan", "asinh", "acosh", "atanh"):
    _function(f"mx.arc{_name[1:]}", f"{_name}.default")
for _name in ("tanh", "sigmoid", "silu", "mish"):
    _function(f"runtime.{_name}", f"{_name}.default")
_function("nn.log_sigmoid", "log_sigmoid.default")
_function("mx.erfinv", "erfinv.default")


@lowers("relu.default")
def relu(e: Emitter, x: Tensor) -> Code:
    return call("nn.relu", x) if x.is_floating else call("mx.maximum", x, 0)


@lowers("gelu.default")
def gelu(e: Emitter, x: Tensor, *, approximate: str = "none") -> Code:
    return e.runtime("gelu_tanh" if approximate == "tanh" else "gelu", x)


@lowers("abs.default")
def absolute(e: Emitter, x: Tensor) -> Code:
    return call("mx.abs", x)


def _rounding(function: str, name: str) -> None:
    @lowers(f"{name}.default")
    def lower(e: Emitter, x: Tensor) -> Code:
        return call(function, x) if x.is_floating else x


_rounding("mx.floor", "floor")
_rounding("mx.ceil", "ceil")
_rounding("mx.round", "round")


@lowers("pow.Tensor_Scalar")
def power(e: Emitter, x: Tensor, exponent: Any) -> Code:
    if exponent == 2:
        return call("mx.square", x)
    if exponent == 0.5:
        return call("mx.sqrt", x)
    if exponent == -0.5:
        return call("mx.rsqrt", x)
    return e.as_result(binary("**", x, e.literal(exponent)), x, exponent)


@lowers("pow.Tensor_Tensor", "pow.Scalar")
def power_of(e: Emitter, x: Any, exponent: Any) -> Code:
    return e.as_result(call("mx.power", operand(e, x), operand(e, exponent)), x, exponent)


@lowers("reciprocal.default")
def reciprocal(e: Emitter, x: Tensor) -> Code:
    return binary("/", 1, x)


@lowers("square.default")
def square(e: Emitter, x: Tensor) -> Code:
    return call("mx.square", x)


def _extremum(function: str, *names: str) -> None:
    @lowers(*names)
    def lower(e: Emitter, a: Any, b: Any) -> Code:
        return e.as_result(call(function, a, operand(e, b)), a, b)


_extremum("mx.maximum", "maximum.default", "max.other", "clamp_min.default", "clamp_min.Tensor", "fmax.default")
_extremum("mx.minimum", "minimum.default", "min.other", "clamp_max.default", "clamp_max.Tensor", "fmin.default")


@lowers("clamp.default", "clamp.Tensor", "hardtanh.default")
def clamp(e: Emitter, x: Tensor, low: Any, high: Any) -> Code:
    bounds = [None if bound is None else operand(e, bound) for bound in (low, high)]
    if bounds[0] is None:
        return e.as_result(call("mx.minimum", x, bounds[1]), x, high)
    if bounds[1] is None:
        return e.as_result(call("mx.maximum", x, bounds[0]), x, low)
    return e.as_result(call("mx.clip", x, *bounds), x, low, high)


@lowers("where.self", "where.ScalarOther", "where.ScalarSelf", "where.Scalar")
def where(e: Emitter, condition: Tensor, a: Any, b: Any) -> Code:
    choice = call("mx.where", condition, operand(e, a), operand(e, b))
    arrays = [each for each in (a, b) if isinstance(each, Tensor)]
    return e.as_result(choice, a, b) if arrays else method(choice, "astype", e.dtype(e.out.dtype))


@lowers("masked_fill.Scalar", "masked_fill.Tensor")
def masked_fill(e: Emitter, x: Tensor, mask: Tensor, value: Any) -> Code:
    if isinstance(value, Tensor):
        value = Tensor(e.cast(value, value.dtype, x.dtype).text, value.level, value.value, value.node)
    return e.as_result(call("mx.where", mask, operand(e, value), x), x, value if not isinstance(value, Tensor) else x)


@lowers("_to_copy.default", "to.dtype", "to.dtype_layout")
def convert(e: Emitter, x: Tensor, *rest: Any, **options: Any) -> Code:
    return e.cast(x, x.dtype, e.out.dtype)


@lowers("isnan.default")
def isnan(e: Emitter, x: Tensor) -> Code:
    return call("mx.isnan", x)


@lowers("isinf.default")
def isinf(e: Emitter, x: Tensor) -> Code:
    return call("mx.isinf", x)


__all__ = ["DTYPES", "as_bool", "operand"]
