"""Arithmetic, comparisons, logic, bits, choices and conversions, element by element."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import torch

from pytorch_to_mlx.capture.code import Code, binary, call, unary
from pytorch_to_mlx.capture.emitter import DTYPES, Emitter, Tensor, promoted
from pytorch_to_mlx.capture.operators.registry import lowers, missing


def operand(e: Emitter, value: Any) -> Any:
    """A tensor's expression, or a number's."""
    return value if isinstance(value, Tensor) else e.literal(value)


def floating(e: Emitter, x: Tensor) -> Code:
    """A tensor as floating-point numbers: of the result's dtype if it has others."""
    return x if x.is_floating else e.cast(x, x.dtype, e.out.dtype)


def as_bool(e: Emitter, x: Any) -> Code:
    """A tensor as truth values."""
    return x if x.dtype == torch.bool else binary("!=", x, 0)


def in_dtype(e: Emitter, value: Any) -> Any:
    """An operand in the result's dtype, for functions that do not promote as torch does."""
    return e.cast(value, value.dtype, e.out.dtype) if isinstance(value, Tensor) else e.literal(value)


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


@lowers("sub.Tensor", "sub.Scalar", "subtract.Tensor", "subtract.Scalar")
def sub(e: Emitter, a: Any, b: Any, alpha_: Any = 1, *, alpha: Any = 1) -> Code:
    return _scaled_sum(e, "-", a, b, alpha if alpha != 1 else alpha_)


@lowers("rsub.Tensor", "rsub.Scalar")
def rsub(e: Emitter, a: Any, b: Any, alpha_: Any = 1, *, alpha: Any = 1) -> Code:
    alpha = alpha if alpha != 1 else alpha_
    if alpha == 1:
        return e.as_result(binary("-", operand(e, b), operand(e, a)), b, a)
    return e.as_result(binary("-", operand(e, b), binary("*", e.literal(alpha), a)), b, a, alpha)


def _scaled_sum(e: Emitter, operator: str, a: Any, b: Any, alpha: Any) -> Code:
    if e.out.dtype == torch.bool and operator == "+":
        return binary("|", a, operand(e, bool(b) if not isinstance(b, Tensor) else b)) if alpha else a
    if alpha == 1:
        return e.as_result(binary(operator, operand(e, a), operand(e, b)), a, b)
    if not isinstance(b, Tensor):
        return e.as_result(binary(operator, operand(e, a), e.literal(alpha * b)), a, alpha * b)
    return e.as_result(binary(operator, operand(e, a), binary("*", e.literal(alpha), b)), a, b, alpha)


@lowers("mul.Tensor", "mul.Scalar", "multiply.Tensor", "multiply.Scalar")
def mul(e: Emitter, a: Any, b: Any) -> Code:
    if e.out.dtype == torch.bool:
        return binary("&", a, operand(e, b))
    return e.as_result(binary("*", operand(e, a), operand(e, b)), a, b)


@lowers("div.Tensor", "div.Scalar", "true_divide.Tensor", "true_divide.Scalar")
def div(e: Emitter, a: Any, b: Any) -> Code:
    return e.cast(binary("/", operand(e, a), operand(e, b)), promoted(a, b, 1.0), e.out.dtype)


@lowers("addcmul.default")
def addcmul(e: Emitter, x: Tensor, a: Tensor, b: Tensor, *, value: Any = 1) -> Code:
    scaled = a if value == 1 else binary("*", e.literal(value), a)
    return e.as_result(binary("+", x, binary("*", scaled, b)), x, a, b, value)


@lowers("addcdiv.default")
def addcdiv(e: Emitter, x: Tensor, a: Tensor, b: Tensor, *, value: Any = 1) -> Code:
    scaled = a if value == 1 else binary("*", e.literal(value), a)
    return e.as_result(binary("+", x, binary("/", scaled, b)), x, a, b, value, 1.0)


@lowers("lerp.Scalar", "lerp.Tensor")
def lerp(e: Emitter, start: Tensor, end: Tensor, weight: Any) -> Code:
    return e.runtime("lerp", start, end, operand(e, weight))


_arithmetic("&", "bitwise_and.Tensor", "bitwise_and.Scalar", "bitwise_and.Scalar_Tensor")
_arithmetic("&", "__and__.Tensor", "__and__.Scalar")
_arithmetic("|", "bitwise_or.Tensor", "bitwise_or.Scalar", "bitwise_or.Scalar_Tensor")
_arithmetic("|", "__or__.Tensor", "__or__.Scalar")
_arithmetic("^", "bitwise_xor.Tensor", "bitwise_xor.Scalar", "bitwise_xor.Scalar_Tensor")
_arithmetic("^", "__xor__.Tensor", "__xor__.Scalar")
_comparison("==", "eq.Tensor", "eq.Scalar")
_comparison("!=", "ne.Tensor", "ne.Scalar", "not_equal.Tensor", "not_equal.Scalar")
_comparison("<", "lt.Tensor", "lt.Scalar", "less.Tensor", "less.Scalar")
_comparison("<=", "le.Tensor", "le.Scalar", "less_equal.Tensor", "less_equal.Scalar")
_comparison(">", "gt.Tensor", "gt.Scalar", "greater.Tensor", "greater.Scalar")
_comparison(">=", "ge.Tensor", "ge.Scalar", "greater_equal.Tensor", "greater_equal.Scalar")


def _shift(function: str, *names: str) -> None:
    @lowers(*names)
    def lower(e: Emitter, a: Any, b: Any) -> Code:
        return e.as_result(e.runtime(function, operand(e, a), operand(e, b)), a, b)


_shift("left_shift", "__lshift__.Tensor", "__lshift__.Scalar")
_shift("left_shift", *(f"bitwise_left_shift.{kind}" for kind in ("Tensor", "Tensor_Scalar", "Scalar_Tensor")))
_shift("right_shift", "__rshift__.Tensor", "__rshift__.Scalar")
_shift("right_shift", *(f"bitwise_right_shift.{kind}" for kind in ("Tensor", "Tensor_Scalar", "Scalar_Tensor")))


@lowers("neg.default", "negative.default")
def neg(e: Emitter, x: Tensor) -> Code:
    return unary("-", x)


@lowers("positive.default")
def positive(e: Emitter, x: Tensor) -> Code:
    return x


@lowers("bitwise_not.default", "logical_not.default")
def invert(e: Emitter, x: Tensor) -> Code:
    if x.dtype == torch.bool:
        return unary("~", x)
    return unary("~", x) if e.out.dtype != torch.bool else binary("==", x, 0)


def _logical(operator: str, name: str) -> None:
    @lowers(name)
    def lower(e: Emitter, a: Tensor, b: Tensor) -> Code:
        return binary(operator, as_bool(e, a), as_bool(e, b))


_logical("&", "logical_and.default")
_logical("|", "logical_or.default")
_logical("!=", "logical_xor.default")


def _function(function: str, *names: str) -> None:
    """A function of one tensor whose result is a floating-point number, so that integers are converted first."""

    @lowers(*names)
    def lower(e: Emitter, x: Tensor) -> Code:
        return call(function, floating(e, x))


for _name in ("sqrt", "rsqrt", "log", "log2", "log10", "log1p", "expm1", "cos", "tan", "sinh", "cosh", "erf"):
    _function(f"mx.{_name}", f"{_name}.default")
for _name in ("exp", "sin", "exp2", "sinc"):
    _function(f"runtime.{_name}", f"{_name}.default")
for _name in ("asin", "acos", "atan", "asinh", "acosh", "atanh"):
    _function(f"mx.arc{_name[1:]}", f"{_name}.default", f"arc{_name[1:]}.default")
_function("mx.degrees", "rad2deg.default")
_function("mx.radians", "deg2rad.default")
_function("mx.erfinv", "erfinv.default")


@lowers("abs.default", "absolute.default")
def absolute(e: Emitter, x: Tensor) -> Code:
    return call("mx.abs", x)


@lowers("pow.Tensor_Scalar")
def power(e: Emitter, x: Tensor, exponent: Any) -> Code:
    if x.is_floating and not x.dtype.is_complex:
        if exponent == 2:
            return call("mx.square", x)
        if exponent == 0.5:
            return call("mx.sqrt", x)
        if exponent == -0.5:
            return call("mx.rsqrt", x)
        if exponent == -1:
            return binary("/", 1, x)
    if exponent == 0:
        return call("mx.ones_like", e.cast(x, x.dtype, e.out.dtype))
    if e.out.dtype.is_complex:
        return e.runtime("complex_power", x, e.literal(exponent))
    return e.as_result(binary("**", x, e.literal(exponent)), x, exponent)


@lowers("pow.Tensor_Tensor", "pow.Scalar")
def power_of(e: Emitter, x: Any, exponent: Any) -> Code:
    if e.out.dtype.is_complex:
        return e.runtime("complex_power", operand(e, x), operand(e, exponent))
    if not e.out.dtype.is_floating_point:
        return e.as_result(e.runtime("integer_power", operand(e, x), operand(e, exponent)), x, exponent)
    return e.as_result(call("mx.power", operand(e, x), operand(e, exponent)), x, exponent)


@lowers("reciprocal.default")
def reciprocal(e: Emitter, x: Tensor) -> Code:
    return binary("/", 1, floating(e, x))


@lowers("square.default")
def square(e: Emitter, x: Tensor) -> Code:
    return e.as_result(call("mx.square", x), x) if x.dtype != torch.bool else e.cast(x, x.dtype, e.out.dtype)


def _extremum(function: str, *names: str) -> None:
    @lowers(*names)
    def lower(e: Emitter, a: Any, b: Any) -> Code:
        return e.as_result(call(function, a, operand(e, b)), a, b)


_extremum("mx.maximum", "maximum.default", "max.other", "clamp_min.default", "clamp_min.Tensor")
_extremum("mx.minimum", "minimum.default", "min.other", "clamp_max.default", "clamp_max.Tensor")
_extremum("runtime.fmax", "fmax.default")
_extremum("runtime.fmin", "fmin.default")


@lowers("clamp.default", "clamp.Tensor", "clip.default", "clip.Tensor")
def clamp(e: Emitter, x: Tensor, low: Any, high: Any) -> Code:
    bounds = [None if bound is None else operand(e, bound) for bound in (low, high)]
    if bounds[0] is None:
        return e.as_result(call("mx.minimum", x, bounds[1]), x, high)
    if bounds[1] is None:
        return e.as_result(call("mx.maximum", x, bounds[0]), x, low)
    return e.as_result(call("mx.clip", x, *bounds), x, low, high)


@lowers("hardtanh.default")
def hardtanh(e: Emitter, x: Tensor, low: Any, high: Any) -> Code:
    if not x.is_floating:
        low, high = int(low), int(high)
    return clamp(e, x, low, high)


@lowers("relu.default")
def relu(e: Emitter, x: Tensor) -> Code:
    return call("nn.relu", x) if x.is_floating else call("mx.maximum", x, 0)


@lowers("where.self", "where.ScalarOther", "where.ScalarSelf", "where.Scalar")
def where(e: Emitter, condition: Tensor, a: Any, b: Any) -> Code:
    truth = as_bool(e, condition)
    choice = call("mx.where", truth, operand(e, a), operand(e, b))
    if any(isinstance(each, Tensor) for each in (a, b)):
        return e.as_result(choice, a, b)
    return e.cast(choice, mx.float32 if isinstance(a, float) else mx.bool_, e.out.dtype)


@lowers("masked_fill.Scalar", "masked_fill.Tensor")
def masked_fill(e: Emitter, x: Tensor, mask: Tensor, value: Any) -> Code:
    if isinstance(value, Tensor):
        filler = e.cast(value, value.dtype, x.dtype)
    else:
        if not x.is_floating:
            value = bool(value) if x.dtype == torch.bool else int(value)
        filler = e.literal(value)
    return call("mx.where", as_bool(e, mask), filler, x)


@lowers("_to_copy.default", "to.dtype", "to.dtype_layout")
def convert(e: Emitter, x: Tensor, *rest: Any, **options: Any) -> Code:
    if x.dtype.is_complex and not e.out.dtype.is_complex:
        return e.cast(call("mx.real", x), mx.float32, e.out.dtype)
    return e.cast(x, x.dtype, e.out.dtype)


def _test(function: str, name: str, otherwise: bool) -> None:
    @lowers(f"{name}.default")
    def lower(e: Emitter, x: Tensor) -> Code:
        if x.is_floating:
            return call(function, x)
        return call("mx.full", e.shape(x.shape), otherwise)


_test("mx.isnan", "isnan", False)
_test("mx.isinf", "isinf", False)
_test("mx.isfinite", "isfinite", True)
_test("mx.isposinf", "isposinf", False)
_test("mx.isneginf", "isneginf", False)


@lowers("isclose.default")
def isclose(e: Emitter, a: Tensor, b: Tensor, rtol: float, atol: float, equal_nan: bool) -> Code:
    tolerances = {"rtol": None if rtol == 1e-5 else e.literal(rtol), "atol": None if atol == 1e-8 else e.literal(atol)}
    return call("mx.isclose", a, b, **tolerances, equal_nan=equal_nan or None)


@lowers("nan_to_num.default")
def nan_to_num(e: Emitter, x: Tensor, nan: Any, posinf: Any, neginf: Any) -> Code:
    if not x.is_floating:
        return x
    given = {"nan": nan or None, "posinf": posinf, "neginf": neginf}
    return call("mx.nan_to_num", x, **{key: None if v is None else e.literal(float(v)) for key, v in given.items()})


def _pair(function: str, *names: str) -> None:
    """A function of two tensors whose result is a floating-point number."""

    @lowers(*names)
    def lower(e: Emitter, a: Any, b: Any) -> Code:
        return call(function, in_dtype(e, a), in_dtype(e, b))


_pair("mx.arctan2", "atan2.default", "arctan2.default")
_pair("mx.logaddexp", "logaddexp.default")
_pair("runtime.copysign", "copysign.Tensor", "copysign.Scalar")
_pair("runtime.nextafter", "nextafter.default")
_pair("runtime.hypot", "hypot.default")
_pair("runtime.heaviside", "heaviside.default")
_pair("runtime.gcd", "gcd.default")
_pair("runtime.lcm", "lcm.default")
_pair("runtime.xlogy", "xlogy.Tensor", "xlogy.Scalar_Self", "xlogy.Scalar_Other")


@lowers("ldexp.Tensor")
def ldexp(e: Emitter, x: Tensor, exponent: Tensor) -> Code:
    return e.runtime("ldexp", in_dtype(e, x), exponent)


@lowers("frexp.Tensor")
def frexp(e: Emitter, x: Tensor) -> Code:
    return e.runtime("frexp", x)


@lowers("signbit.default")
def signbit(e: Emitter, x: Tensor) -> Code:
    return e.runtime("signbit", x) if x.is_floating else call("mx.less", x, 0)


@lowers("sign.default", "sgn.default")
def sign(e: Emitter, x: Tensor) -> Code:
    return call("mx.sign", x) if not x.dtype.is_floating_point else e.runtime("sign", x)


missing(
    "Python numbers that depend on data",
    "_local_scalar_dense.default",
    "item.default",
    "equal.default",
    "allclose.default",
)


__all__ = ["DTYPES", "as_bool", "floating", "in_dtype", "operand"]
