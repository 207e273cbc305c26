"""Scaled dot-product attention."""

from __future__ import annotations

from functools import partial

import mlx.core as mx

from pytorch_to_mlx.layers import native
from pytorch_to_mlx.layers.cores import on_each_core
from pytorch_to_mlx.layers.device import linux_cpu

LONG_PAST = 2**19  # values in the keys of a single query, from where on two cores read them faster than one


def attention(q: mx.array, k: mx.array, v: mx.array, *, scale: float, mask: mx.array | None = None) -> mx.array:
    """softmax(scale q k^T + mask) v.

    MLX's fused operation, but on the Linux CPU backend, where that is a pass over memory for each step: there, in
    float32, many queries are attended to by a function of our own (`layers.native`), several times as fast, and a
    single one with a long past by each core for its share of the heads, a third faster. That function evaluates its
    inputs, and is a constant to `mx.grad`.

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
    y = None
    if q.dtype == k.dtype == v.dtype == mx.float32 and linux_cpu() and _fit(q, k, v):
        if q.shape[2] > 1:
            y = native.attention(q, k, v, scale, mask)
        elif mask is None and k.size >= LONG_PAST:
            y = _of_one_query(q, k, v, scale)
    return mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=mask) if y is None else y


def _fit(q: mx.array, k: mx.array, v: mx.array) -> bool:
    """Whether shapes agree and nothing is empty; else MLX tells what is wrong."""
    return (
        0 not in (*q.shape, *k.shape, *v.shape)
        and q.shape[0] == k.shape[0] == v.shape[0]
        and k.shape[1:3] == v.shape[1:3]
        and q.shape[3] == k.shape[3]
        and q.shape[1] % k.shape[1] == 0
    )


def _of_one_query(q: mx.array, k: mx.array, v: mx.array, scale: float) -> mx.array | None:
    """The heads that share keys as queries of one head, and those one after another."""
    attend = partial(mx.fast.scaled_dot_product_attention, scale=scale)
    grouped = q.reshape(-1, 1, q.shape[1] // k.shape[1], q.shape[-1])
    y = on_each_core(attend, grouped, k.flatten(0, 1)[:, None], v.flatten(0, 1)[:, None])
    return None if y is None else y.reshape(*q.shape[:3], -1)
