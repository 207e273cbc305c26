"""Scaled dot-product attention in every form that PyTorch has."""

from __future__ import annotations

import math

import mlx.core as mx

from pytorch_to_mlx.layers.attention import attention


def scaled_dot_product_attention(
    q: mx.array,
    k: mx.array,
    v: mx.array,
    *,
    scale: float | None = None,
    mask: mx.array | None = None,
    causal: bool = False,
) -> mx.array:
    """`torch.nn.functional.scaled_dot_product_attention`: a query that sees no key has zeros, where MLX has nan.

    Args:
        q: (..., heads, queries, depth), or without heads.
        k: (..., heads or a divisor of it, keys, depth).
        v: (..., as of k, keys, value depth).
        scale: of the scores; depth ** -0.5 by default.
        mask: added to the scores, or boolean with True where a key is seen; broadcast to (..., queries, keys).
        causal: a query sees the keys up to its own number, counted from the first of both; in place of a mask.

    Returns:
        (..., queries, value depth).
    """
    factor = float(q.shape[-1]) ** -0.5 if scale is None else scale
    before, rank = mx.broadcast_shapes(*(each.shape[:-3] for each in (q, k, v))), max(each.ndim for each in (q, k, v))
    queries, keys = q.shape[-2], k.shape[-2]
    if causal:
        mask = mx.tri(queries, keys).astype(mx.bool_)
    q, k, v = (_rank_4(each, before) for each in (q, k, v))
    heads = max(q.shape[1], k.shape[1], v.shape[1])
    q = q if q.shape[1] == heads else mx.repeat(q, heads, axis=1)
    if k.shape[1] != v.shape[1]:
        k, v = (each if each.shape[1] == heads else mx.repeat(each, heads // each.shape[1], axis=1) for each in (k, v))
    if mask is not None:
        mask = mask if mask.dtype == mx.bool_ else mask.astype(q.dtype)
        if mask.ndim > 2:
            mask = mx.broadcast_to(mask, (*before, heads, queries, keys)).reshape(-1, heads, queries, keys)
    empty = mx.zeros((*q.shape[:-1], v.shape[-1]), q.dtype)
    y = attention(q, k, v, scale=factor, mask=mask) if keys else empty
    if mask is not None:
        found = mx.any(mask if mask.dtype == mx.bool_ else mask > -mx.inf, axis=-1, keepdims=True)
        y = mx.where(found, y, mx.zeros((), y.dtype))
    return y.reshape(*before, heads, queries, v.shape[-1]) if rank > 2 else y.reshape(queries, v.shape[-1])


def _rank_4(x: mx.array, before: tuple[int, ...]) -> mx.array:
    """(batch, heads, length, depth), the batch being all axes before the heads."""
    heads = x.shape[-3] if x.ndim > 2 else 1
    x = mx.broadcast_to(x, (*before, heads, *x.shape[-2:]))
    return x.reshape(math.prod(before), heads, *x.shape[-2:])
