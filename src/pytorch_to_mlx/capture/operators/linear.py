"""Products of matrices and vectors, norms over the last axes, attention, distances."""

from __future__ import annotations

from functools import reduce
from typing import Any

import torch

from pytorch_to_mlx.capture.clean import same_size
from pytorch_to_mlx.capture.code import Code, as_code, attribute, binary, call, method
from pytorch_to_mlx.capture.emitter import Emitter, Tensor
from pytorch_to_mlx.capture.operators.registry import lowers
from pytorch_to_mlx.errors import CaptureError


def product(a: Tensor, b: Tensor, x: Any = None, y: Any = None) -> Code:
    """`a @ b`; of integers, which MLX does not multiply so, by our own function."""
    left, right = a if x is None else x, b if y is None else y
    return binary("@", left, right) if a.is_floating else call("runtime.integer_matmul", left, right)


@lowers("linear.default")
def linear(e: Emitter, x: Tensor, weight: Tensor, bias: Tensor | None) -> Code:
    turned = attribute(weight, "T") if weight.ndim == 2 else weight
    whole = product(x, weight, x, turned)
    return whole if bias is None else binary("+", whole, bias)


@lowers("matmul.default", "mm.default", "bmm.default", "mv.default", "dot.default")
def matmul(e: Emitter, a: Tensor, b: Tensor) -> Code:
    return product(a, b)


@lowers("_grouped_mm.default")
def grouped_mm(
    e: Emitter, a: Tensor, b: Tensor, offs: Tensor | None = None, bias: Tensor | None = None, out_dtype: Any = None
) -> Code:
    if offs is None and a.ndim == b.ndim == 3:
        whole = product(a, b)
    elif offs is not None and a.ndim == 2 and b.ndim == 3:
        whole = e.runtime("grouped_mm", a, b, offs)
    else:
        raise CaptureError("grouped_mm: groups along other axes than the rows of the first are for training")
    return e.cast(whole if bias is None else binary("+", whole, bias), a.dtype, e.out.dtype)


@lowers("transformers.grouped_mm_fallback.default")
def experts(e: Emitter, x: Tensor, weight: Tensor, offs: Tensor) -> Code:
    return e.runtime("grouped_mm", x, weight, offs)


@lowers("addmm.default", "baddbmm.default", "addmv.default")
def addmm(e: Emitter, bias: Tensor, a: Tensor, b: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Code:
    return _plus(e, product(a, b), bias, beta, alpha)


@lowers("addbmm.default")
def addbmm(e: Emitter, bias: Tensor, a: Tensor, b: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Code:
    total = call("mx.sum", product(a, b), axis=0)
    small = e.out.dtype in (torch.uint8, torch.int8, torch.int16)  # which MLX adds as larger integers
    return _plus(e, method(total, "astype", e.dtype(e.out.dtype)) if small else total, bias, beta, alpha)


@lowers("addr.default")
def addr(e: Emitter, bias: Tensor, a: Tensor, b: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Code:
    outer = call("mx.outer", a, b)
    if e.out.dtype == torch.bool:
        parts = [part for part, factor in ((outer, alpha), (bias, beta)) if factor]
        if len(parts) == 2:
            return binary("|", *parts)
        return call("mx.broadcast_to", *parts or [False], e.shape(e.out.shape))
    return _plus(e, outer, bias, beta, alpha)


def _plus(e: Emitter, whole: Code, bias: Tensor, beta: Any, alpha: Any) -> Code:
    """alpha * whole + beta * bias; a factor of 0 hides what is not finite in `bias`, as in torch."""
    if not e.out.dtype.is_floating_point and not e.out.dtype.is_complex:
        alpha, beta = int(alpha), int(beta)
    scaled = whole if alpha == 1 else binary("*", _factor(e, alpha, "alpha"), whole)
    if beta == 0:
        return scaled
    return binary("+", scaled, bias if beta == 1 else binary("*", _factor(e, beta, "beta"), bias))


def _factor(e: Emitter, value: Any, hint: str) -> Code:
    return Code(f"({value.real!r} + {value.imag!r}j)") if isinstance(value, complex) else e.literal(value, hint)


@lowers("vdot.default")
def vdot(e: Emitter, a: Tensor, b: Tensor) -> Code:
    return product(a, b, call("mx.conj", a) if a.dtype.is_complex else a)


@lowers("linalg_vecdot.default")
def vecdot(e: Emitter, a: Tensor, b: Tensor, *, dim: int = -1) -> Code:
    left = call("mx.conj", a) if a.dtype.is_complex else a
    return call("mx.sum", binary("*", left, b), axis=dim)


@lowers("inner.default")
def inner(e: Emitter, a: Tensor, b: Tensor) -> Code:
    if not a.ndim or not b.ndim:
        return binary("*", a, b)
    return call("mx.inner", a, b) if a.is_floating else e.runtime("integer_tensordot", a, b, [[-1], [-1]])


@lowers("outer.default", "ger.default")
def outer(e: Emitter, a: Tensor, b: Tensor) -> Code:
    return e.as_result(call("mx.outer", a, b), a, b)


@lowers("kron.default")
def kron(e: Emitter, a: Tensor, b: Tensor) -> Code:
    if a.ndim == b.ndim == 0:
        return e.as_result(binary("*", a, b), a, b)
    return e.as_result(call("mx.kron", a, b), a, b)


@lowers("tensordot.default")
def tensordot(e: Emitter, a: Tensor, b: Tensor, axes_a: list[int], axes_b: list[int]) -> Code:
    # An axis of one element meets one of any size.
    long_a = [i for i, j in zip(axes_a, axes_b, strict=True) if same_size(b.shape[j], 1) and a.shape[i] != 1]
    long_b = [j for i, j in zip(axes_a, axes_b, strict=True) if same_size(a.shape[i], 1) and b.shape[j] != 1]
    left = call("mx.sum", a, axis=tuple(long_a), keepdims=True) if long_a else a
    right = call("mx.sum", b, axis=tuple(long_b), keepdims=True) if long_b else b
    return call("mx.tensordot" if a.is_floating else "runtime.integer_tensordot", left, right, axes=[axes_a, axes_b])


@lowers("linalg_multi_dot.default", "chain_matmul.default")
def multi_dot(e: Emitter, matrices: list[Tensor]) -> Code:
    if not matrices[0].is_floating:
        return reduce(lambda a, b: call("runtime.integer_matmul", a, b), matrices[1:], as_code(matrices[0]))
    return reduce(lambda a, b: binary("@", a, b), matrices[1:], as_code(matrices[0]))


@lowers("bilinear.default")
def bilinear(e: Emitter, a: Tensor, b: Tensor, weight: Tensor, bias: Tensor | None = None) -> Code:
    return e.runtime("bilinear", a, b, weight, bias=bias)


@lowers("einsum.default")
def einsum(e: Emitter, equation: str, tensors: list[Tensor], *rest: Any, **options: Any) -> Code:
    if not e.out.dtype.is_floating_point and not e.out.dtype.is_complex and len(tensors) > 1:
        raise CaptureError("einsum: of integers, which MLX does not multiply as matrices")
    operands = [e.cast(each, each.dtype, e.out.dtype) for each in tensors]
    return call("mx.einsum", equation.replace(" ", ""), *operands)


@lowers("linalg_cross.default")
def cross(e: Emitter, a: Tensor, b: Tensor, *, dim: int = -1) -> Code:
    return _cross(e, a, b, dim)


@lowers("cross.default")
def cross_at(e: Emitter, a: Tensor, b: Tensor, dim: int | None = None) -> Code:
    return _cross(e, a, b, next(axis for axis, size in enumerate(e.out.shape) if size == 3) if dim is None else dim)


def _cross(e: Emitter, a: Tensor, b: Tensor, dim: int) -> Code:
    axis = dim % e.out.ndim
    last = axis == e.out.ndim - 1
    return e.as_result(call("mx.linalg.cross", a, b, axis=None if last else axis - e.out.ndim), a, b)


@lowers("cdist.default", "_cdist_forward.default", "_euclidean_dist.default")
def cdist(e: Emitter, a: Tensor, b: Tensor, p: float = 2.0, mode: int | None = None) -> Code:
    return e.runtime("cdist", a, b, p=None if p == 2 else e.literal(p, "p"))


@lowers("pdist.default", "_pdist_forward.default")
def pdist(e: Emitter, x: Tensor, p: float = 2.0) -> Code:
    return e.runtime("pdist", x, p=None if p == 2 else e.literal(p, "p"))


@lowers("layer_norm.default")
def layer_norm(e: Emitter, x: Tensor, shape: list[int], weight: Any, bias: Any, eps: float, *rest: Any) -> Code:
    if len(shape) == 1:
        return call("mx.fast.layer_norm", x, as_code(weight), as_code(bias), e.literal(eps, "eps"))
    return e.runtime("layer_norm", x, len(shape), weight=weight, bias=bias, eps=e.literal(eps, "eps"))


@lowers("native_layer_norm.default")
def native_layer_norm(e: Emitter, x: Tensor, shape: list[int], weight: Any, bias: Any, eps: float) -> tuple[Code, ...]:
    axes = tuple(range(-len(shape), 0)) if len(shape) > 1 else -1
    normal = layer_norm(e, x, shape, weight, bias, eps)
    spread = binary("+", call("mx.var", x, axis=axes, keepdims=True), e.literal(eps, "eps"))
    return normal, call("mx.mean", x, axis=axes, keepdims=True), call("mx.rsqrt", spread)


@lowers("rms_norm.default")
def rms_norm(e: Emitter, x: Tensor, shape: list[int], weight: Any, eps: float | None) -> Code:
    return _rms_norm(e, x, shape, weight, eps)


@lowers("_fused_rms_norm.default")
def fused_rms_norm(e: Emitter, x: Tensor, shape: list[int], weight: Any, eps: float | None) -> tuple[Code, Code]:
    axes = tuple(range(-len(shape), 0)) if len(shape) > 1 else -1
    least = e.literal(_least(x, eps), "eps")
    spread = binary("+", call("mx.mean", call("mx.square", x), axis=axes, keepdims=True), least)
    return _rms_norm(e, x, shape, weight, eps), call("mx.rsqrt", spread)


def _rms_norm(e: Emitter, x: Tensor, shape: list[int], weight: Any, eps: float | None) -> Code:
    if x.dtype.is_complex:
        raise CaptureError("rms_norm: of complex numbers")
    least = e.literal(_least(x, eps), "eps")
    if len(shape) == 1:
        return call("mx.fast.rms_norm", x, as_code(weight), least)
    return e.runtime("rms_norm", x, len(shape), weight=weight, eps=least)


def _least(x: Tensor, eps: float | None) -> float:
    return torch.finfo(x.dtype).eps if eps is None else eps


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
    if dropout:
        raise CaptureError(f"scaled_dot_product_attention: dropout_p={dropout}; export the model in eval()")
    if same_size(q.shape[-1], 0):
        raise CaptureError("scaled_dot_product_attention: of vectors without elements")
    factor = e.literal(float(q.shape[-1]) ** -0.5 if scale is None else scale, "scale")
    plain = all(each.ndim == 4 and same_size(each.shape[0], q.shape[0]) for each in (q, k, v))
    plain = plain and same_size(k.shape[1], v.shape[1]) and (enable_gqa or same_size(q.shape[1], k.shape[1]))
    # MLX counts a causal mask from the last query and key, torch from the first.
    square = same_size(q.shape[-2], k.shape[-2])
    if plain and mask is None and (square or not is_causal):
        seen = Code('"causal"') if is_causal else None
        return call("mx.fast.scaled_dot_product_attention", q, k, v, scale=factor, mask=seen)
    causal = True if is_causal else None
    return e.runtime("scaled_dot_product_attention", q, k, v, scale=factor, mask=mask, causal=causal)
