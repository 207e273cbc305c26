"""Scaled dot-product attention."""

from __future__ import annotations

import mlx.core as mx

from pytorch_to_mlx.layers.device import linux_cpu
from pytorch_to_mlx.layers.elementwise import softmax

SCORES = 2**20  # of one block of queries: they and their temporaries stay near the processor, and memory stays bounded


def attention(q: mx.array, k: mx.array, v: mx.array, *, scale: float, mask: mx.array | None = None) -> mx.array:
    """softmax(scale q k^T + mask) v.

    On the Linux CPU backend by our own softmax over blocks of queries, twice as fast at 500 to 750 of them; elsewhere,
    and for a single query, which gains nothing, by MLX's fused operation.

    Args:
        q: (batch, heads, queries, depth).
        k: (batch, kv heads, keys, depth); the number of heads is a multiple of that of kv heads, which are shared by
            neighbours.
        v: (batch, kv heads, keys, value depth).
        scale: of the scores, usually depth ** -0.5.
        mask: added to the scores, or boolean with True where a key is seen; broadcast to (batch, heads, queries, keys).

    Returns:
        (batch, heads, queries, value depth).
    """
    queries = q.shape[2]
    if queries == 1 or q.dtype != mx.float32 or not linux_cpu():
        return mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=mask)
    if mask is not None and mask.dtype == mx.bool_:
        mask = mx.where(mask, mx.array(0, q.dtype), mx.array(-mx.inf, q.dtype))
    block = max(1, SCORES // (q.shape[0] * q.shape[1] * k.shape[2]))
    parts = []
    for start in range(0, queries, block):
        some = slice(start, start + block)
        part = mask if mask is None or mask.ndim < 2 or mask.shape[-2] == 1 else mask[..., some, :]
        parts.append(_attend(q[:, :, some] * scale, k, v, part))
    return parts[0] if len(parts) == 1 else mx.concatenate(parts, axis=2)


def _attend(q: mx.array, k: mx.array, v: mx.array, mask: mx.array | None) -> mx.array:
    batch, heads, queries, depth = q.shape
    grouped = q.reshape(batch, k.shape[1], -1, depth)  # the queries of the heads that share keys, one after another
    scores = (grouped @ k.swapaxes(-1, -2)).reshape(batch, heads, queries, -1)
    weights = softmax(scores if mask is None else scores + mask)
    return (weights.reshape(batch, k.shape[1], -1, k.shape[2]) @ v).reshape(batch, heads, queries, -1)
