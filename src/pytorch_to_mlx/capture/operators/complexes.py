"""Complex numbers and their parts."""

from __future__ import annotations

from pytorch_to_mlx.capture.code import Code, call, item, method
from pytorch_to_mlx.capture.emitter import Emitter, Tensor
from pytorch_to_mlx.capture.operators.registry import lowers


@lowers("real.default")
def real(e: Emitter, x: Tensor) -> Code:
    return call("mx.real", x) if x.dtype.is_complex else x


@lowers("imag.default")
def imaginary(e: Emitter, x: Tensor) -> Code:
    return call("mx.imag", x)


@lowers("conj.default", "_conj.default", "conj_physical.default", "_conj_physical.default", "resolve_conj.default")
def conjugate(e: Emitter, x: Tensor) -> Code:
    # Only the operator itself conjugates: a tensor that torch conjugates when it is read has been by then.
    return call("mx.conj", x) if x.dtype.is_complex and "resolve" not in str(e.node.target) else x


@lowers("view_as_real.default", "view_as_real_copy.default")
def parts(e: Emitter, x: Tensor) -> Code:
    return e.runtime("view_as_real", x)


@lowers("view_as_complex.default", "view_as_complex_copy.default")
def of_pairs(e: Emitter, x: Tensor) -> Code:
    return item(method(x, "view", Code("mx.complex64")), "..., 0")


@lowers("complex.default")
def of_parts(e: Emitter, real: Tensor, imaginary: Tensor) -> Code:
    return e.runtime("complex_of", real, imaginary)


@lowers("polar.default")
def polar(e: Emitter, radius: Tensor, angle: Tensor) -> Code:
    return e.runtime("polar", radius, angle)


@lowers("angle.default")
def angle(e: Emitter, x: Tensor) -> Code:
    return e.runtime("angle", x)
