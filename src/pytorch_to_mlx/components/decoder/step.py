"""Decoding steps in one call of C++ (layers/native/decoding.cpp), which reads weights as fast as memory gives them.

MLX takes 1.6 times as long in float32 on two cores (benchmarks/layers.py): it dispatches a thousand operations, and
OpenBLAS copies what it multiplies with.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from pytorch_to_mlx.components.decoder.config import DecoderConfig
from pytorch_to_mlx.components.decoder.rotary import Rotation
from pytorch_to_mlx.decoding import KVCache
from pytorch_to_mlx.layers import native
from pytorch_to_mlx.layers.cores import on_one_core, usable_cores
from pytorch_to_mlx.layers.device import linux_cpu

if TYPE_CHECKING:
    from pytorch_to_mlx.components.decoder.network import Decoder, DecoderLayer, Memory

MOST_ROWS = 8  # sequences times positions: one read of the weights serves them all
MOST_THREADS = 16  # fewer than that read as fast as memory can be read


class _Sizes(ctypes.Structure):
    """`Sizes` of decoding.cpp."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("threads", "layers", "batch", "positions", "hidden", "inner")),
        *((name, ctypes.c_int64) for name in ("heads", "kv_heads", "depth", "past", "room", "sources", "remembered")),
        *((name, ctypes.c_int64) for name in ("centred", "gated", "exact")),
        ("epsilon", ctypes.c_float),
    ]


def step(
    decoder: Decoder,
    x: mx.array,
    turn: Rotation | None,
    past: KVCache,
    heads: Sequence[tuple[int, int]],
    memory: Memory | None = None,
) -> tuple[mx.array, dict[tuple[int, int], mx.array]] | None:
    """A few more positions through all layers, on the Linux CPU backend in float32. A constant to `mx.grad`.

    Args:
        x: (B, T, hidden_size), what goes into the first layer.
        turn: the rotation of the positions.
        past: what came before; it is given the positions' keys and values, and is the caller's to advance.
        heads: (layer, head) pairs whose attention is wanted.
        memory: what the layers attend to besides.

    Returns:
        What comes out of the last layer, (B, T, hidden_size), and the attention of each of `heads`, (B, 1, all
        positions). None where it is MLX's to do: elsewhere and without g++, in other types, quantized, for a cache that
        ends within its padding, for more than eight positions of all sequences together, for the
        attention of several positions or padded sequences, or to a memory, for weights of another shape or layout, for
        layers that decoding.cpp does not have, and inside `mx.compile` and `mx.vmap`.

    Raises:
        MemoryError: not enough for the threads.
    """
    config, (batch, count, _) = decoder.config, x.shape
    if config.layer_scale or config.sliding_window is not None:
        return None
    if heads and (count > 1 or past.padding is not None or memory):
        return None
    fits = 0 < batch * count <= MOST_ROWS and _fit([x], [(batch, count, config.hidden_size)])
    if not fits or past.offset < past.most_padding or not linux_cpu():
        return None
    shapes = _shapes(config)
    weights: list[list[mx.array | None]] = []
    for layer in decoder.layers:
        weights.append(_weights(layer))
        if not _fit(weights[-1], shapes):
            return None
    remembered = [each for pair in memory or () for each in pair]
    sources, _, length, _ = remembered[0].shape if remembered else (0, 0, 0, 0)
    if not _fit(remembered, [(sources, config.num_heads, length, config.head_dim)] * len(remembered)):
        return None
    given = [x, *(turn or ()), *remembered, *(each for layer in weights for each in layer if each is not None)]
    if native.library() is None or not native.evaluated(given):
        return None
    if past.is_empty:
        past.begin(batch, config.num_kv_heads, config.head_dim, x.dtype)
    buffers = past.room(count)
    kept = (batch, config.num_kv_heads, buffers[0][0].shape[2], config.head_dim)
    if not _fit([each for pair in buffers for each in pair], [kept] * (2 * len(weights))):
        return None
    pairs = zip(weights, buffers, memory or [(None, None)] * len(weights), strict=True)
    arrays = [each for layer, pair, known in pairs for each in (*layer, *pair, *known)]
    try:
        table = (ctypes.c_void_p * len(arrays))(*map(_address, arrays))
    except TypeError:  # not one value after the other
        return None
    y = np.array(x, order="C")
    attended = np.empty((len(heads), batch, 1, past.offset + 1), np.float32)
    watched = (ctypes.c_void_p * (len(weights) * config.num_heads))()
    for (layer, head), share in zip(heads, attended, strict=True):
        watched[layer * config.num_heads + head] = share.ctypes.data
    cosine, sine = (np.array(turn.cos), np.array(turn.sin[:, 1], order="C")) if turn is not None else (None, None)
    padding = np.array(past.padding, np.int64) if past.padding is not None else None
    sizes = _Sizes(
        1 if on_one_core() else min(usable_cores(), MOST_THREADS),
        len(weights),
        batch,
        count,
        config.hidden_size,
        config.intermediate_size,
        config.num_heads,
        config.num_kv_heads,
        config.head_dim,
        past.offset,
        kept[2],
        sources,
        length,
        config.norm == "layer",
        config.mlp == "swiglu",
        config.mlp == "gelu",
        config.norm_eps,
    )
    pointers = [None if each is None else each.ctypes.data for each in (cosine, sine, padding)]
    decode = native.function("decode", ctypes.POINTER(_Sizes), *[ctypes.c_void_p] * 6)
    if decode(ctypes.byref(sizes), table, *pointers, watched if heads else None, y.ctypes.data):
        raise MemoryError("decoder: not enough memory for the threads of a step")
    return mx.array(y), {pair: mx.array(share) for pair, share in zip(heads, attended, strict=True)}


def _weights(layer: DecoderLayer) -> list[mx.array | None]:
    """In the order of `Layer` in decoding.cpp."""
    attention, mlp = layer.self_attn, layer.mlp
    inward = mlp.gate_up_proj if "gate_up_proj" in mlp else mlp.up_proj
    before = (layer.input_layernorm, attention.qkv_proj, attention.o_proj)
    after = (layer.post_attention_layernorm, inward, mlp.down_proj)
    across: tuple[nn.Module | None, ...] = (None, None, None)
    if "cross_attn" in layer:
        across = (layer.cross_attn_layernorm, layer.cross_attn.q_proj, layer.cross_attn.o_proj)
    parts = (*before, *after, *across)
    affine = [None if part is None else part.get(name) for part in parts for name in ("weight", "bias")]
    return affine + [attention[name].weight if name in attention else None for name in ("q_norm", "k_norm")]


def _shapes(config: DecoderConfig) -> list[tuple[int, ...] | None]:
    """Those of `_weights`. What is quantized has others."""
    hidden, inner, depth = config.hidden_size, config.intermediate_size, config.head_dim
    heads, every = config.num_heads * depth, (config.num_heads + 2 * config.num_kv_heads) * depth

    def linear(outputs: int, inputs: int, bias: bool) -> list[tuple[int, ...] | None]:
        return [(outputs, inputs), (outputs,) if bias else None]

    norm = [(hidden,), (hidden,) if config.norm == "layer" else None]
    across = [*norm, *linear(heads, hidden, config.qkv_bias), *linear(hidden, heads, config.output_bias)]
    return [
        *norm,
        *linear(every, hidden, config.qkv_bias),
        *linear(hidden, heads, config.output_bias),
        *norm,
        *linear(2 * inner if config.mlp == "swiglu" else inner, hidden, config.mlp_bias),
        *linear(hidden, inner, config.mlp_bias),
        *(across if config.cross_attention else [None] * 6),
        *[(depth,) if config.qk_norm else None] * 2,
    ]


def _fit(arrays: Sequence[mx.array | None], shapes: Sequence[tuple[int, ...] | None]) -> bool:
    return [each if each is None else each.shape for each in arrays] == shapes and all(
        each is None or each.dtype == mx.float32 for each in arrays
    )


def _address(array: mx.array | None) -> int | None:
    memory: Any = array  # a buffer, which its stub does not tell
    return None if array is None else ctypes.addressof(ctypes.c_char.from_buffer(memory))
