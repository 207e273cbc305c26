"""Special functions, by published approximations where MLX has none."""

from __future__ import annotations

from typing import Any

from pytorch_to_mlx.capture.code import Code
from pytorch_to_mlx.capture.emitter import Emitter, Tensor
from pytorch_to_mlx.capture.operators.elementwise import floating, in_dtype
from pytorch_to_mlx.capture.operators.registry import lowers, missing


def _special(function: str, *names: str) -> None:
    @lowers(*(f"{name}.default" for name in names))
    def lower(e: Emitter, x: Tensor) -> Code:
        return e.runtime(function, floating(e, x))


_special("erfc", "erfc", "special_erfc")
_special("erfcx", "special_erfcx")
_special("log_ndtr", "special_log_ndtr")
_special("ndtri", "special_ndtri")
_special("lgamma", "lgamma", "special_gammaln")
_special("digamma", "digamma", "special_digamma", "special_psi")
_special("i0", "i0", "special_i0", "special_modified_bessel_i0")
_special("i0e", "special_i0e")
_special("i1", "special_i1", "special_modified_bessel_i1")
_special("i1e", "special_i1e")
_special("k0", "special_modified_bessel_k0")
_special("k0e", "special_scaled_modified_bessel_k0")
_special("k1", "special_modified_bessel_k1")
_special("k1e", "special_scaled_modified_bessel_k1")
_special("j0", "special_bessel_j0")
_special("j1", "special_bessel_j1")
_special("y0", "special_bessel_y0")
_special("y1", "special_bessel_y1")
_special("spherical_j0", "special_spherical_bessel_j0")


def _pair(function: str, *names: str) -> None:
    @lowers(*names)
    def lower(e: Emitter, a: Any, b: Any) -> Code:
        return e.runtime(function, in_dtype(e, a), in_dtype(e, b))


_pair("zeta", "special_zeta.default", "special_zeta.self_scalar", "special_zeta.other_scalar")
_pair("igamma", "igamma.default", "special_gammainc.default")
_pair("igammac", "igammac.default", "special_gammaincc.default")


@lowers("polygamma.default", "special_polygamma.default")
def polygamma(e: Emitter, order: int, x: Tensor) -> Code:
    if order == 0:
        return e.runtime("digamma", floating(e, x))
    return e.runtime("polygamma", order, floating(e, x))


missing("Airy functions", "special_airy_ai.default")
missing(
    "a recurrence as long as the data say",
    *(
        f"special_{family}.{overload}"
        for family in (
            *(f"{shifted}chebyshev_polynomial_{kind}" for shifted in ("", "shifted_") for kind in "tuvw"),
            "hermite_polynomial_h",
            "hermite_polynomial_he",
            "laguerre_polynomial_l",
            "legendre_polynomial_p",
        )
        for overload in ("default", "x_scalar", "n_scalar")
    ),
)
