"""Special functions in float32, by published approximations.

Bessel's functions: polynomials of Abramowitz and Stegun, Handbook of Mathematical Functions, 9.4.1-6 and 9.8.1-8
(errors below 2.2e-7). The complementary error function: Numerical Recipes, erfcc (relative error 1.2e-7). The
inverse of the normal distribution's tails: Acklam's rational approximation (1.2e-9). Gamma's logarithm and derivatives:
asymptotic series after recurrence; Hurwitz's zeta function: Euler and Maclaurin's formula.

Each function equals its namesake in `torch` or `torch.special`.
"""

from __future__ import annotations

import math

import mlx.core as mx

# --- the normal distribution ----------------------------------------------------------------------------------------

ERFCC = (
    *(-1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806),
    *(0.27886807, -1.13520398, 1.48851587, -0.82215223, 0.17087277),
)


def erfc(x: mx.array) -> mx.array:
    """`torch.erfc`: 1 - erf(x), exact where that is small."""
    size = mx.abs(x)
    tail = _scaled_erfc(size) * _exp_of_square(size, -1)
    return mx.where(size < 0.5, 1 - mx.erf(x), mx.where(x < 0, 2 - tail, tail))


def erfcx(x: mx.array) -> mx.array:
    """`torch.special.erfcx`: e^(x^2) erfc(x)."""
    size = mx.abs(x)
    tail = mx.where(mx.isinf(size), 0, _scaled_erfc(size))
    return mx.where(x < 0, 2 * _exp_of_square(x, 1) - tail, tail)


def _scaled_erfc(x: mx.array) -> mx.array:
    t = 1 / (1 + 0.5 * x)
    return t * mx.exp(_polynomial(t, ERFCC))


def _exp_of_square(x: mx.array, sign: int) -> mx.array:
    """e^(+-x^2), with the square's low bits."""
    high = mx.view(mx.view(x, mx.int32) & -4096, mx.float32)
    power = mx.exp(sign * high * high) * mx.exp(sign * (x - high) * (x + high))
    return mx.where(mx.isinf(x), 0 if sign < 0 else mx.inf, power)


def log_ndtr(x: mx.array) -> mx.array:
    """`torch.special.log_ndtr`: the logarithm of the normal distribution."""
    t = x * math.sqrt(0.5)
    return mx.where(x < -1, mx.log(erfcx(-t) / 2) - mx.square(t), mx.log1p(-erfc(t) / 2))


TAIL_UPPER = (2.938163982698783, 4.374664141464968, -2.549732539343734)
TAIL_UPPER = (*TAIL_UPPER, -2.400758277161838, -0.3223964580411365, -0.007784894002430293)
TAIL_LOWER = (1.0, 3.754408661907416, 2.445134137142996, 0.3224671290700398, 0.007784695709041462)


def ndtri(p: mx.array) -> mx.array:
    """`torch.special.ndtri`: the inverse of the normal distribution."""
    less = mx.minimum(p, 1 - p)
    q = mx.sqrt(-2 * mx.log(less))
    tail = _polynomial(q, TAIL_UPPER) / _polynomial(q, TAIL_LOWER)
    tail = mx.where(less == 0, -mx.inf, tail)
    return mx.where(less < 0.02425, mx.where(p < 0.5, tail, -tail), math.sqrt(2) * mx.erfinv(2 * p - 1))


# --- gamma ----------------------------------------------------------------------------------------------------------

SHIFT = 8
STIRLING = (1 / 12, -1 / 360, 1 / 1260)


def lgamma(x: mx.array) -> mx.array:
    """`torch.lgamma`: log |gamma(x)|."""
    reflected = math.log(math.pi) - mx.log(mx.abs(_sin_pi(x))) - _lgamma_above(1 - x)
    return mx.where(mx.isinf(x), mx.inf, mx.where(x < 0.5, reflected, _lgamma_above(x)))


def _lgamma_above(x: mx.array) -> mx.array:
    """Of x from 0.5 on."""
    product = x
    for step in range(1, SHIFT):
        product = product * (x + step)
    y = mx.where(x < SHIFT, x + SHIFT, x)
    inverse = 1 / y
    series = inverse * _polynomial(mx.square(inverse), STIRLING)
    value = (y - 0.5) * mx.log(y) - y + 0.5 * math.log(2 * math.pi) + series
    return mx.where(x < SHIFT, value - mx.log(product), value)


def digamma(x: mx.array) -> mx.array:
    """`torch.digamma`: the derivative of log gamma."""
    reflected = _digamma_above(1 - x) - math.pi * _cos_pi(x) / _sin_pi(x)
    poles = mx.where(mx.floor(x) == x, mx.where(x == 0, -1 / x, mx.nan), reflected)
    return mx.where(x <= 0, poles, _digamma_above(x))


def _digamma_above(x: mx.array) -> mx.array:
    """Of x above 0."""
    total = mx.zeros_like(x)
    for step in range(SHIFT):
        total = total + 1 / (x + step)
    y = mx.where(x < SHIFT, x + SHIFT, x)
    square = 1 / mx.square(y)
    value = mx.log(y) - 0.5 / y - square * _polynomial(square, (1 / 12, -1 / 120, 1 / 252))
    return mx.where(x < SHIFT, value - total, value)


BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)
TERMS = 20


def zeta(s: mx.array, q: mx.array) -> mx.array:
    """`torch.special.zeta`: Hurwitz's, the sum of (q + k)^-s over k from 0 on; nan for q below -11."""
    s, q = mx.broadcast_arrays(mx.array(s), mx.array(q))
    total = mx.zeros_like(q)
    for k in range(TERMS):
        total = total + mx.power(q + k, -s)
    end = q + TERMS
    power = mx.power(end, -s)
    total = total + power * end / (s - 1) + power / 2
    factor = s / end
    for j, number in enumerate(BERNOULLI, 1):
        total = total + number / math.factorial(2 * j) * factor * power
        factor = factor * (s + 2 * j - 1) * (s + 2 * j) / mx.square(end)
    total = mx.where(q > TERMS * 10**5, power * end / (s - 1), total)
    negative = mx.where(mx.floor(q) == q, mx.inf, mx.where((mx.floor(s) != s) | (q < 9 - TERMS), mx.nan, total))
    value = mx.where(q <= 0, negative, total)
    return mx.where(s == 1, mx.inf, mx.where(s < 1, mx.nan, value))


def polygamma(n: int, x: mx.array) -> mx.array:
    """`torch.polygamma`: derivative number n, of 1 and more, of `digamma`."""
    return (-1) ** (n + 1) * math.factorial(n) * zeta(mx.array(n + 1.0), x)


STEPS = 128  # of a series and a continued fraction: enough for arguments to about 1000


def igamma(a: mx.array, x: mx.array) -> mx.array:
    """`torch.special.gammainc`: the lower incomplete gamma function over gamma(a)."""
    lower, upper = _incomplete(a, x)
    return mx.where(_by_series(a, x), lower, 1 - upper)


def igammac(a: mx.array, x: mx.array) -> mx.array:
    """`torch.special.gammaincc`: 1 - `igamma`."""
    lower, upper = _incomplete(a, x)
    return mx.where(_by_series(a, x), 1 - lower, upper)


def _by_series(a: mx.array, x: mx.array) -> mx.array:
    return (x < a + 1) | (x <= 1)


def _incomplete(a: mx.array, x: mx.array) -> tuple[mx.array, mx.array]:
    """The lower function by its power series, the upper one by its continued fraction (Lentz's method)."""
    a, x = mx.broadcast_arrays(a, x)
    scale = _gamma_density(a, x)
    term = total = 1 / a
    for step in range(1, STEPS):
        term = term * x / (a + step)
        total = total + term
    b = x + 1 - a
    c, d = mx.full(x.shape, 1e30), 1 / b
    fraction = d
    for step in range(1, STEPS):
        factor = -step * (step - a)
        b = b + 2
        d = 1 / _not_zero(factor * d + b)
        c = _not_zero(b + factor / c)
        fraction = fraction * d * c
    lower, upper = scale * total, scale * fraction
    invalid = (a < 0) | (x < 0) | mx.isnan(a) | mx.isnan(x) | ((a == 0) & (x == 0)) | (mx.isinf(a) & mx.isinf(x))
    ends = (a == 0) | mx.isinf(x)  # all of it lies below
    lower = mx.where(ends, 1, mx.where((x == 0) | mx.isinf(a), 0, lower))
    upper = mx.where(ends, 0, mx.where((x == 0) | mx.isinf(a), 1, upper))
    return mx.where(invalid, mx.nan, lower), mx.where(invalid, mx.nan, upper)


def _gamma_density(a: mx.array, x: mx.array) -> mx.array:
    """x^a e^-x / gamma(a); of greater a by Stirling's series, where the powers cancel."""
    excess = (x - a) / a
    inverse = 1 / mx.maximum(a, SHIFT)
    series = inverse * _polynomial(mx.square(inverse), STIRLING)
    far = mx.exp(a * (mx.log1p(excess) - excess) - series) * mx.sqrt(a / (2 * math.pi))
    return mx.where(a < SHIFT, mx.exp(a * mx.log(x) - x - lgamma(a)), far)


def _not_zero(x: mx.array) -> mx.array:
    return mx.where(mx.abs(x) < 1e-30, 1e-30, x)


def _sin_pi(x: mx.array) -> mx.array:
    """sin(pi x) of the part that is left after whole turns."""
    nearest = mx.round(x)
    return mx.sin(math.pi * (x - nearest)) * (1 - 2 * mx.abs(nearest % 2))


def _cos_pi(x: mx.array) -> mx.array:
    nearest = mx.round(x)
    return mx.cos(math.pi * (x - nearest)) * (1 - 2 * mx.abs(nearest % 2))


# --- Bessel's functions ---------------------------------------------------------------------------------------------

I0 = (1.0, 3.5156229, 3.0899424, 1.2067492, 0.2659732, 0.0360768, 0.0045813)
I0_TAIL = (
    0.39894228,
    0.01328592,
    0.00225319,
    -0.00157565,
    0.00916281,
    -0.02057706,
    0.02635537,
    -0.01647633,
    0.00392377,
)
I1 = (0.5, 0.87890594, 0.51498869, 0.15084934, 0.02658733, 0.00301532, 0.00032411)
I1_TAIL = (
    *(0.39894228, -0.03988024, -0.00362018, 0.00163801, -0.01031555),
    *(0.02282967, -0.02895312, 0.01787654, -0.00420059),
)
K0 = (-0.57721566, 0.42278420, 0.23069756, 0.03488590, 0.00262698, 0.00010750, 0.00000740)
K0_TAIL = (1.25331414, -0.07832358, 0.02189568, -0.01062446, 0.00587872, -0.00251540, 0.00053208)
K1 = (1.0, 0.15443144, -0.67278579, -0.18156897, -0.01919402, -0.00110404, -0.00004686)
K1_TAIL = (1.25331414, 0.23498619, -0.03655620, 0.01504268, -0.00780353, 0.00325614, -0.00068245)
J0 = (1.0, -2.2499997, 1.2656208, -0.3163866, 0.0444479, -0.0039444, 0.0002100)
Y0 = (0.36746691, 0.60559366, -0.74350384, 0.25300117, -0.04261214, 0.00427916, -0.00024846)
SIZE_0 = (0.79788456, -0.00000077, -0.00552740, -0.00009512, 0.00137237, -0.00072805, 0.00014476)
PHASE_0 = (-0.78539816, -0.04166397, -0.00003954, 0.00262573, -0.00054125, -0.00029333, 0.00013558)
J1 = (0.5, -0.56249985, 0.21093573, -0.03954289, 0.00443319, -0.00031761, 0.00001109)
Y1 = (-0.6366198, 0.2212091, 2.1682709, -1.3164827, 0.3123951, -0.0400976, 0.0027873)
SIZE_1 = (0.79788456, 0.00000156, 0.01659667, 0.00017105, -0.00249511, 0.00113653, -0.00020033)
PHASE_1 = (-2.35619449, 0.12499612, 0.00005650, -0.00637879, 0.00074348, 0.00079824, -0.00029166)


def i0(x: mx.array) -> mx.array:
    """`torch.special.i0`: the modified function of the first kind, order 0."""
    return _modified(mx.abs(x), I0, I0_TAIL, False)


def i0e(x: mx.array) -> mx.array:
    """`torch.special.i0e`: e^-|x| i0(x)."""
    return _modified(mx.abs(x), I0, I0_TAIL, True)


def i1(x: mx.array) -> mx.array:
    """`torch.special.i1`: the modified function of the first kind, order 1."""
    return _odd(x, _modified(mx.abs(x), I1, I1_TAIL, False, odd=True))


def i1e(x: mx.array) -> mx.array:
    """`torch.special.i1e`: e^-|x| i1(x)."""
    return _odd(x, _modified(mx.abs(x), I1, I1_TAIL, True, odd=True))


def _modified(x: mx.array, near: tuple, tail: tuple, scaled: bool, odd: bool = False) -> mx.array:
    low = _polynomial(mx.square(x / 3.75), near) * (x if odd else 1)
    high = _polynomial(3.75 / mx.maximum(x, 3.75), tail) / mx.sqrt(x)
    # e^x / sqrt(x) is still finite where e^x is not
    return mx.where(
        x < 3.75, low * mx.exp(-x) if scaled else low, high if scaled else mx.exp(x / 2) * high * mx.exp(x / 2)
    )


def _odd(x: mx.array, value: mx.array) -> mx.array:
    return mx.where(x < 0, -value, value)


def k0(x: mx.array) -> mx.array:
    """`torch.special.modified_bessel_k0`: the modified function of the second kind, order 0."""
    return _second(x, k0e(x) * mx.exp(-x), _k0_near(x))


def k0e(x: mx.array) -> mx.array:
    """`torch.special.scaled_modified_bessel_k0`: e^x k0(x)."""
    return _second(x, _tail(x, K0_TAIL), _k0_near(x) * mx.exp(x))


def k1(x: mx.array) -> mx.array:
    """`torch.special.modified_bessel_k1`: the modified function of the second kind, order 1."""
    return _second(x, k1e(x) * mx.exp(-x), _k1_near(x))


def k1e(x: mx.array) -> mx.array:
    """`torch.special.scaled_modified_bessel_k1`: e^x k1(x)."""
    return _second(x, _tail(x, K1_TAIL), _k1_near(x) * mx.exp(x))


def _k0_near(x: mx.array) -> mx.array:
    return _polynomial(mx.square(x / 2), K0) - mx.log(x / 2) * i0(x)


def _k1_near(x: mx.array) -> mx.array:
    return mx.log(x / 2) * i1(x) + _polynomial(mx.square(x / 2), K1) / x


def _tail(x: mx.array, tail: tuple) -> mx.array:
    return _polynomial(2 / mx.maximum(x, 2), tail) / mx.sqrt(x)


def _second(x: mx.array, far: mx.array, near: mx.array) -> mx.array:
    value = mx.where(x <= 2, near, far)
    return mx.where(x < 0, mx.nan, mx.where(x == 0, mx.inf, value))


def j0(x: mx.array) -> mx.array:
    """`torch.special.bessel_j0`: the function of the first kind, order 0."""
    x = mx.abs(x)
    size, phase = _wave(x, SIZE_0, PHASE_0)
    return mx.where(x <= 3, _polynomial(mx.square(x / 3), J0), size * mx.cos(phase))


def j1(x: mx.array) -> mx.array:
    """`torch.special.bessel_j1`: the function of the first kind, order 1."""
    far = mx.abs(x)
    size, phase = _wave(far, SIZE_1, PHASE_1)
    return mx.where(far <= 3, x * _polynomial(mx.square(x / 3), J1), _odd(x, size * mx.cos(phase)))


def y0(x: mx.array) -> mx.array:
    """`torch.special.bessel_y0`: the function of the second kind, order 0."""
    size, phase = _wave(x, SIZE_0, PHASE_0)
    near = 2 / math.pi * mx.log(x / 2) * j0(x) + _polynomial(mx.square(x / 3), Y0)
    return _oscillating(x, mx.where(x <= 3, near, size * mx.sin(phase)))


def y1(x: mx.array) -> mx.array:
    """`torch.special.bessel_y1`: the function of the second kind, order 1."""
    size, phase = _wave(x, SIZE_1, PHASE_1)
    near = 2 / math.pi * mx.log(x / 2) * j1(x) + _polynomial(mx.square(x / 3), Y1) / x
    return _oscillating(x, mx.where(x <= 3, near, size * mx.sin(phase)))


def spherical_j0(x: mx.array) -> mx.array:
    """`torch.special.spherical_bessel_j0`: sin(x) / x."""
    return mx.where(mx.isinf(x), 0, mx.where(x == 0, 1, mx.sin(x) / x))


def _wave(x: mx.array, size: tuple, phase: tuple) -> tuple[mx.array, mx.array]:
    t = 3 / mx.maximum(x, 3)
    return _polynomial(t, size) / mx.sqrt(x), x + _polynomial(t, phase)


def _oscillating(x: mx.array, value: mx.array) -> mx.array:
    return mx.where(x < 0, mx.nan, mx.where(x == 0, -mx.inf, value))


def _polynomial(x: mx.array, coefficients: tuple[float, ...]) -> mx.array:
    """By Horner's rule, from the constant on."""
    value = mx.full(x.shape, coefficients[-1], dtype=x.dtype)
    for coefficient in reversed(coefficients[:-1]):
        value = value * x + coefficient
    return value
