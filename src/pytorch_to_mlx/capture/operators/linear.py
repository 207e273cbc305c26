"""Products of matrices, norms over the last axis, attention."""

from __future__ import annotations

from typing import Any

from pytorch_to_mlx.capture.code import Code, as_code, binary, call, method
from pytorch_to_mlx.capture.emitter import Emitter, Tensor
from pytorch_to_mlx.capture.operators.registry import lowers


@lowers("linear.default")
def linear(e: Emitter, x: Tensor, weight: Tensor, bias: Tensor | None) -> Code:
    transposed = Code(f"{weight.atom}.T") if weight.ndim == 2 else weight
    product = binary("@", x, transposed)
    return product if bias is None else binary("+", product, bias)


@lowers("matmul.default", "mm.default", "bmm.default", "mv.default", "dot.default")
def matmul(e: Emitter, a: Tensor, b: Tensor) -> Code:
    return binary("@", a, b)


@lowers("addmm.default", "baddbmm.default", "addmv.default")
def addmm(e: Emitter, bias: Tensor, a: Tensor, b: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Code:
    if beta == 1 and alpha == 1:
        return binary("+", binary("@", a, b), bias)
    product = binary("*", e.literal(alpha), binary("@", a, b))
    return product if beta == 0 else binary("+", product, binary("*", e.literal(beta), bias))


@lowers("layer_norm.default")
def layer_norm(e: Emitter, x: Tensor, shape: list[int], weight: Any, bias: Any, eps: float, *rest: Any) -> Code:
    if len(shape) == 1:
        return call("mx.fast.layer_norm", x, as_code(weight), as_code(bias), e.literal(eps, "eps"))
    return e.runtime("layer_norm", x, len(shape), weight=weight, bias=bias, eps=e.literal(eps, "eps"))


@lowers("rms_norm.default")
def rms_norm(e: Emitter, x: Tensor, shape: list[int], weight: Any, eps: Any) -> Code:
    return call(
        "mx.fast.rms_norm", x, as_code(weight), e.literal(1.1920928955078125e-07 if eps is None else eps, "eps")
    )


@lowers("scaled_dot_product_attention.default")
def attention(
    e: Emitter,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    dropout: float,
    is_causal: bool,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Code:
    factor = e.literal(float(q.shape[-1]) ** -0.5 if scale is None else scale, "scale")
    seen = '"causal"' if is_causal else None
    given = Code(seen) if seen else mask
    if q.ndim == 4 and all(each.ndim == 4 for each in (k, v)):
        return call("mx.fast.scaled_dot_product_attention", q, k, v, scale=factor, mask=given)
    return e.runtime("attention", q, k, v, scale=factor, mask=given)


@lowers("einsum.default")
def einsum(e: Emitter, equation: str, tensors: list[Tensor], *rest: Any, **options: Any) -> Code:
    return call("mx.einsum", equation, *tensors)


__all__ = ["method"]
