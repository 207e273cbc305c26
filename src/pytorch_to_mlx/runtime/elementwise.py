"""Functions of each element that MLX lacks or defines otherwise than torch."""

from __future__ import annotations

import math

import mlx.core as mx

from pytorch_to_mlx.layers.elementwise import elu as plain_elu

Number = mx.array | float | int

# --- arithmetic -----------------------------------------------------------------------------------------------------


def lerp(start: mx.array, end: mx.array, weight: Number) -> mx.array:
    """`torch.lerp`: from start to end by weight, exact at both."""
    weight = mx.array(weight) if not isinstance(weight, mx.array) else weight
    step = end - start
    magnitude = mx.abs(weight) if mx.issubdtype(weight.dtype, mx.complexfloating) else weight
    whole = mx.where(magnitude < 0.5, start + weight * step, end - step * (1 - weight))
    return whole.astype(mx.result_type(start.dtype, end.dtype))


def floor_divide(a: Number, b: Number) -> mx.array:
    """`torch.floor_divide` of floating-point numbers: the quotient that belongs to Python's remainder."""
    a, b = _both(a, b)
    rest = fmod(a, b)
    quotient = (a - rest) / b - ((rest != 0) & ((b < 0) != (rest < 0)))
    whole = mx.floor(quotient)
    whole = mx.where(quotient - whole > 0.5, whole + 1, whole)
    return mx.where((b == 0) | mx.isinf(a), a / b, whole)


def truncating_divide(a: Number, b: Number) -> mx.array:
    """`torch.div(a, b, rounding_mode="trunc")` of integers."""
    a, b = _both(a, b)
    quotient = a // b
    return quotient + ((quotient < 0) & (quotient * b != a))


def fmod(a: Number, b: Number) -> mx.array:
    """`torch.fmod`: the remainder with the sign of a."""
    a, b = _both(a, b)
    rest = mx.remainder(mx.abs(a), mx.abs(b))
    rest = mx.where(a < 0, -rest, rest) if mx.issubdtype(a.dtype, mx.signedinteger) or _floating(a) else rest
    return mx.where(mx.isinf(b) & mx.isfinite(a), a, rest) if _floating(a) else rest


def integer_power(a: Number, b: Number) -> mx.array:
    """`torch.pow` of integers: 0 for negative exponents, except of 1 and -1."""
    a, b = _both(a, b)
    inverse = mx.where(mx.abs(a) == 1, mx.where((b % 2 == 0) | (a == 1), 1, -1), 0).astype(a.dtype)
    return mx.where(b < 0, inverse, mx.power(a, mx.maximum(b, 0)))


def complex_power(a: Number, b: Number) -> mx.array:
    """`torch.pow` of complex numbers; nothing to the power of nothing is 1."""
    a, b = (each if isinstance(each, mx.array) else mx.array(each) for each in (a, b))
    a, b = a.astype(mx.complex64), b.astype(mx.complex64)
    power = mx.exp(b * _complex_log(a))
    return mx.where(a == 0, mx.where(b == 0, 1, 0).astype(mx.complex64), power)


def _complex_log(x: mx.array) -> mx.array:
    return mx.log(mx.abs(x)) + 1j * mx.arctan2(mx.imag(x), mx.real(x))


def ldexp(x: mx.array, exponent: mx.array) -> mx.array:
    """`torch.ldexp`: x 2^exponent."""
    return x * mx.power(mx.array(2, x.dtype), exponent.astype(x.dtype))


def xlogy(x: Number, y: Number) -> mx.array:
    """`torch.xlogy`: x log y, and 0 where x is 0."""
    x, y = _both(x, y)
    return mx.where(mx.isnan(y), mx.nan, mx.where(x == 0, 0, x * mx.log(y))).astype(x.dtype)


def hypot(a: mx.array, b: mx.array) -> mx.array:
    """`torch.hypot`: sqrt(a^2 + b^2) without overflow."""
    a, b = mx.abs(a), mx.abs(b)
    most, least = mx.maximum(a, b), mx.minimum(a, b)
    ratio = mx.where((most == 0) | mx.isinf(most), 0, least / most)
    return mx.where(mx.isinf(a) | mx.isinf(b), mx.inf, most * mx.sqrt(1 + mx.square(ratio))).astype(a.dtype)


def gcd(a: mx.array, b: mx.array) -> mx.array:
    """`torch.gcd`, by as many steps of Euclid's as the longest pair of the dtype takes."""
    a, b = mx.abs(a), mx.abs(b)
    for _ in range(math.ceil(a.dtype.size * 8 / math.log2((1 + math.sqrt(5)) / 2))):
        a, b = mx.where(b == 0, a, b), mx.where(b == 0, 0, a % mx.maximum(b, 1)).astype(a.dtype)
    return a


def lcm(a: mx.array, b: mx.array) -> mx.array:
    """`torch.lcm`."""
    return mx.abs(a // mx.maximum(gcd(a, b), 1) * b)


def left_shift(a: Number, b: Number) -> mx.array:
    """`torch.bitwise_left_shift`: 0 once every bit is out."""
    a, b = _both(a, b)
    bits = 8 * a.dtype.size
    outside = (b < 0) | (b >= bits)
    return mx.where(outside, 0, mx.left_shift(a, mx.where(outside, 0, b).astype(a.dtype))).astype(a.dtype)


def right_shift(a: Number, b: Number) -> mx.array:
    """`torch.bitwise_right_shift`: the sign once every bit is out."""
    a, b = _both(a, b)
    bits = 8 * a.dtype.size
    signed = mx.issubdtype(a.dtype, mx.signedinteger)
    most = bits - 1 if signed else bits
    outside = (b < 0) | (b > most)
    nothing = mx.where(a < 0, -1, 0) if signed else 0
    return mx.where(outside, nothing, mx.right_shift(a, mx.where(outside, 0, b).astype(a.dtype))).astype(a.dtype)


def exp2(x: mx.array) -> mx.array:
    """`torch.exp2`: 2^x."""
    return mx.power(mx.array(2, x.dtype), x)


def sinc(x: mx.array) -> mx.array:
    """`torch.sinc`: sin(pi x) / (pi x)."""
    turned = x * math.pi
    return mx.where(x == 0, 1, mx.sin(turned) / turned).astype(x.dtype)


def round_decimals(x: mx.array, decimals: int) -> mx.array:
    """`torch.round(x, decimals=decimals)`."""
    scale = 10.0 ** abs(decimals)
    return mx.round(x * scale) / scale if decimals > 0 else mx.round(x / scale) * scale


def frac(x: mx.array) -> mx.array:
    """`torch.frac`: what follows the point, with the sign of x."""
    return x - mx.trunc(x)


# --- extrema, signs and bits ----------------------------------------------------------------------------------------


def fmax(a: mx.array, b: mx.array) -> mx.array:
    """`torch.fmax`: the larger; a number rather than nan."""
    return mx.where(mx.isnan(a), b, mx.where(mx.isnan(b), a, mx.maximum(a, b)))


def fmin(a: mx.array, b: mx.array) -> mx.array:
    """`torch.fmin`: the smaller; a number rather than nan."""
    return mx.where(mx.isnan(a), b, mx.where(mx.isnan(b), a, mx.minimum(a, b)))


def sign(x: mx.array) -> mx.array:
    """`torch.sign`: 0 of nan."""
    return mx.where(mx.isnan(x), 0, mx.sign(x)).astype(x.dtype)


def signbit(x: mx.array) -> mx.array:
    """`torch.signbit` of floating-point numbers: whether the sign is negative, of -0.0 too."""
    return mx.view(x, mx.int32 if x.dtype == mx.float32 else mx.int16) < 0


def copysign(x: Number, sign_: Number) -> mx.array:
    """`torch.copysign`: the magnitude of x with the other's sign."""
    x, sign_ = _both(x, sign_)
    return mx.where(signbit(sign_), -mx.abs(x), mx.abs(x))


def nextafter(x: mx.array, towards: mx.array) -> mx.array:
    """`torch.nextafter` in float32: the next number on the way."""
    x, towards = mx.broadcast_arrays(x, towards)
    bits = mx.view(mx.contiguous(x), mx.int32)
    away = (towards > x) == (x > 0)  # from nothing
    step = mx.view(mx.where(away, bits + 1, bits - 1), mx.float32)
    tiny = mx.view(mx.where(towards > 0, mx.array(1, mx.int32), mx.array(-(2**31) + 1, mx.int32)), mx.float32)
    return mx.where(
        mx.isnan(x) | mx.isnan(towards), mx.nan, mx.where(x == towards, towards, mx.where(x == 0, tiny, step))
    )


def frexp(x: mx.array) -> tuple[mx.array, mx.array]:
    """`torch.frexp`: the mantissa in [0.5, 1), and the exponent of 2."""
    wide = x.astype(mx.float32)
    small = mx.abs(wide) < 2.0**-126
    bits = mx.view(mx.where(small, wide * 2.0**24, wide), mx.int32)
    exponent = ((bits >> 23) & 255) - 126 - mx.where(small, 24, 0)
    mantissa = mx.view((bits & -2139095041) | (126 << 23), mx.float32)
    plain = (wide == 0) | mx.isinf(wide) | mx.isnan(wide)
    return mx.where(plain, wide, mantissa).astype(x.dtype), mx.where(plain, 0, exponent).astype(mx.int32)


def heaviside(x: mx.array, values: mx.array) -> mx.array:
    """`torch.heaviside`: 0 below nothing, 1 above, `values` between."""
    return mx.where(x == 0, values, (x > 0).astype(values.dtype))


# --- activations ----------------------------------------------------------------------------------------------------


def elu(x: mx.array, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> mx.array:
    """`torch.nn.functional.elu`: x where positive, alpha (e^x - 1) elsewhere."""
    if alpha == scale == input_scale == 1:
        return plain_elu(x)
    low = alpha * scale * mx.expm1(mx.minimum(x, 0) * input_scale)
    return mx.where(x > 0, x * scale, low)


def selu(x: mx.array) -> mx.array:
    """`torch.nn.functional.selu`."""
    return elu(x, 1.6732632423543772848170429916717, 1.0507009873554804934193349852946)


def celu(x: mx.array, alpha: float = 1.0) -> mx.array:
    """`torch.nn.functional.celu`: x where positive, alpha (e^(x / alpha) - 1) elsewhere."""
    return elu(x, alpha, 1.0, 1.0 / alpha)


def leaky_relu(x: mx.array, negative_slope: float) -> mx.array:
    """`torch.nn.functional.leaky_relu`, for slopes above 1 too."""
    return mx.where(x > 0, x, negative_slope * x)


def threshold(x: mx.array, threshold: float, value: float) -> mx.array:
    """`torch.nn.functional.threshold`: `value` where x is not above the threshold."""
    return mx.where(x <= threshold, mx.array(value).astype(x.dtype), x)


def softplus(x: mx.array, beta: float = 1.0, threshold: float = 20.0) -> mx.array:
    """`torch.nn.functional.softplus`: log(1 + e^(beta x)) / beta, x itself beyond the threshold."""
    return mx.where(x * beta > threshold, x, mx.logaddexp(x * beta, 0) / beta)


def softshrink(x: mx.array, lambd: float = 0.5) -> mx.array:
    """`torch.nn.functional.softshrink`: x nearer to nothing by lambd."""
    return x - mx.clip(x, -lambd, lambd)


def hardshrink(x: mx.array, lambd: float = 0.5) -> mx.array:
    """`torch.nn.functional.hardshrink`: nothing where |x| is lambd or less."""
    return mx.where(mx.abs(x) <= lambd, 0, x)


def logit(x: mx.array, eps: float | None = None) -> mx.array:
    """`torch.logit`: log(x / (1 - x)), of x between eps and 1 - eps."""
    x = x if eps is None else mx.clip(x, eps, 1 - eps)
    return mx.log(x / (1 - x))


def _both(a: Number, b: Number) -> tuple[mx.array, mx.array]:
    """Both as arrays of one dtype; Python numbers take the other's."""
    if not isinstance(a, mx.array):
        assert isinstance(b, mx.array)
        a = mx.array(a, _weak(a, b.dtype))
    if not isinstance(b, mx.array):
        b = mx.array(b, _weak(b, a.dtype))
    dtype = mx.result_type(a.dtype, b.dtype)
    return a.astype(dtype), b.astype(dtype)


def _weak(number: float | int, dtype: mx.Dtype) -> mx.Dtype:
    if isinstance(number, float) and not mx.issubdtype(dtype, mx.inexact):
        return mx.float32
    return mx.int32 if dtype == mx.bool_ and not isinstance(number, bool) else dtype


def _floating(x: mx.array) -> bool:
    return mx.issubdtype(x.dtype, mx.floating)
