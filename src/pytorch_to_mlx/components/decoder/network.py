"""A transformer decoder: embeddings to hidden states (transformers/models/{llama,qwen3,gpt2,whisper})."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.components.decoder.config import DecoderConfig
from pytorch_to_mlx.components.decoder.rotary import Rotation, inverse_frequencies, rotation
from pytorch_to_mlx.components.decoder.step import step
from pytorch_to_mlx.decoding import KVCache, WindowCache
from pytorch_to_mlx.errors import UsageError
from pytorch_to_mlx.layers.attention import attention
from pytorch_to_mlx.layers.elementwise import gelu, gelu_tanh, silu
from pytorch_to_mlx.layers.linear import Linear

# Takes new keys and values, gives all that there are (both (B, kv heads, T, D)).
Store = Callable[[mx.array, mx.array], tuple[mx.array, mx.array]]
Cache = KVCache | WindowCache
# Each layer's keys and values of an encoder's states, both (A, heads, M, D).
Memory = list[tuple[mx.array, mx.array]]


class Decoder(nn.Module):
    """Pre-normalised layers of causal self-attention, perhaps cross-attention, and feed-forward; a final norm."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        if config.max_positions is not None:
            self.wpe = nn.Embedding(config.max_positions, config.hidden_size)
        self.layers = [DecoderLayer(config) for _ in range(config.num_layers)]
        if config.final_norm:
            self.norm = _norm(config)
        if config.rope_theta is not None:
            self._rates = mx.array(inverse_frequencies(config.head_dim, config.rope_theta, config.rope_scaling))

    def remember(self, states: mx.array) -> Memory:
        """What the layers attend to of an encoder's states, (A, M, hidden_size)."""
        return [layer.cross_attn.remember(states) for layer in self.layers]

    def __call__(self, embeddings: mx.array, cache: Cache | None = None, memory: Memory | None = None) -> mx.array:
        """Hidden states, after the final norm where there is one.

        With a cache, up to eight positions of all sequences together are computed in one call on the Linux CPU backend,
        in float32 (`components/decoder/step.py`): evaluated at once, and a constant to `mx.grad`.

        Args:
            embeddings: (B, T, hidden_size), the positions that follow those in `cache`.
            cache: keys and values of the positions before, extended by these.
            memory: for cross-attention, of A sources: sequences b * B / A and so on attend to source b.

        Returns:
            (B, T, hidden_size).

        Raises:
            UsageError: more positions than the learned table has, or a cache or memory of other sequences. Of padded
                sequences, those that have all positions of the table go on with its last.
            MemoryError: not enough for the threads of that call.
        """
        return self._run(embeddings, cache, (), memory)[0]

    def attending(
        self,
        embeddings: mx.array,
        cache: Cache | None,
        heads: Sequence[tuple[int, int]],
        memory: Memory | None = None,
    ) -> tuple[mx.array, mx.array]:
        """Hidden states as above, and how much some heads attend to each position, of the memory where there is one.

        Args:
            heads: (layer, head) pairs; the other heads cost nothing extra.

        Returns:
            (B, T, hidden_size) and, in the order of `heads`, (B, len(heads), T, all positions), float32, rows sum to 1;
            of a memory, the scores whose softmax that would be.

        Raises:
            UsageError: more positions than the learned table has, or a head that there is not.
            MemoryError: as above.
        """
        for layer, head in heads:
            if not (0 <= layer < len(self.layers) and 0 <= head < self.config.num_heads):
                raise UsageError(f"head {head} of layer {layer} is none of the model's")
        hidden, weights = self._run(embeddings, cache, heads, memory)
        return hidden, mx.stack([weights[pair] for pair in heads], axis=1)

    def _run(
        self, hidden: mx.array, cache: Cache | None, heads: Sequence[tuple[int, int]], memory: Memory | None
    ) -> tuple[mx.array, dict[tuple[int, int], mx.array]]:
        config = self.config
        sources = len(memory[0][0]) if memory else 0
        if bool(sources) != config.cross_attention or (sources and len(hidden) % sources):
            raise UsageError(f"{len(hidden)} sequences cannot attend to a memory of {sources} sources")
        if cache is not None and cache.padding is not None and len(cache.padding) != len(hidden):
            raise UsageError(f"the cache is padded for {len(cache.padding)} sequences, not {len(hidden)}")
        start, count = cache.offset if cache is not None else 0, hidden.shape[1]
        if config.max_positions is not None:
            hidden = hidden + self._positions(start, count, cache.padding if cache is not None else None)
        turn = rotation(self._rates, start, count, hidden.dtype) if config.rope_theta is not None else None
        stepped = step(self, hidden, turn, cache, heads, memory) if isinstance(cache, KVCache) else None
        hidden, weights = stepped or self._through_layers(hidden, turn, cache, heads, memory)
        if cache is not None:
            cache.advance(count)
        return self.norm(hidden) if config.final_norm else hidden, weights

    def _positions(self, start: int, count: int, padding: mx.array | None) -> mx.array:
        """Rows of the learned table: each sequence's own positions, which begin behind its padding."""
        most = self.config.max_positions or 0
        if padding is None:
            if start + count > most:
                raise UsageError(f"{start + count} positions are more than the model's {most}: shorten the input")
            return self.wpe.weight[start : start + count]
        own = mx.arange(start, start + count) - padding[:, None]
        return self.wpe.weight[mx.clip(own, 0, most - 1)]

    def _through_layers(
        self,
        hidden: mx.array,
        turn: Rotation | None,
        cache: Cache | None,
        heads: Sequence[tuple[int, int]],
        memory: Memory | None,
    ) -> tuple[mx.array, dict[tuple[int, int], mx.array]]:
        first, start = (cache.first, cache.offset) if cache is not None else (0, 0)
        padding = cache.padding if cache is not None else None
        mask = causal_mask(first, start, hidden.shape[1], hidden.dtype, self.config.sliding_window, padding)
        weights: dict[tuple[int, int], mx.array] = {}
        for index, layer in enumerate(self.layers):
            store = partial(cache.update, index) if cache is not None else None
            watched = [head for number, head in heads if number == index]
            hidden, attended = layer(hidden, turn, mask, store, watched, memory[index] if memory else None)
            weights |= {(index, head): each for head, each in zip(watched, attended, strict=True)}
        return hidden, weights


class DecoderLayer(nn.Module):
    """x + attention(norm(x)), that with cross-attention where there is a memory, then x + feed-forward(norm(x))."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.input_layernorm = _norm(config)
        self.self_attn = Attention(config)
        if config.cross_attention:
            self.cross_attn_layernorm = _norm(config)
            self.cross_attn = CrossAttention(config)
        self.post_attention_layernorm = _norm(config)
        self.mlp = FeedForward(config)
        if config.layer_scale:
            self.self_attn_layer_scale = LayerScale(config.hidden_size)
            self.mlp_layer_scale = LayerScale(config.hidden_size)

    def __call__(
        self,
        x: mx.array,
        turn: Rotation | None,
        mask: mx.array | None,
        store: Store | None,
        watched: Sequence[int],
        memory: tuple[mx.array, mx.array] | None = None,
    ) -> tuple[mx.array, list[mx.array]]:
        """(B, T, hidden_size) to the same, and the watched heads' attention, (B, T, all positions) each."""
        attended, weights = self.self_attn(self.input_layernorm(x), turn, mask, store, () if memory else watched)
        if memory is not None:
            x = x + attended
            attended, weights = self.cross_attn(self.cross_attn_layernorm(x), memory, watched)
        if "mlp_layer_scale" not in self:
            x = x + attended
            return x + self.mlp(self.post_attention_layernorm(x)), weights
        x = x + self.self_attn_layer_scale(attended)
        return x + self.mlp_layer_scale(self.mlp(self.post_attention_layernorm(x))), weights


class LayerScale(nn.Module):
    """A factor for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = mx.ones((channels,))

    def __call__(self, x: mx.array) -> mx.array:
        """(..., channels) to the same."""
        return self.scale * x


class Attention(nn.Module):
    """Self-attention. Queries, keys and values come from one product, and are rotated in one piece."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.num_heads, self.num_kv_heads, self.head_dim = config.num_heads, config.num_kv_heads, config.head_dim
        every = config.num_heads + 2 * config.num_kv_heads
        self.qkv_proj = Linear(config.hidden_size, every * config.head_dim, bias=config.qkv_bias)
        self.o_proj = Linear(config.num_heads * config.head_dim, config.hidden_size, bias=config.output_bias)
        if config.qk_norm:
            self.q_norm = nn.RMSNorm(config.head_dim, config.norm_eps)
            self.k_norm = nn.RMSNorm(config.head_dim, config.norm_eps)

    def __call__(
        self, x: mx.array, turn: Rotation | None, mask: mx.array | None, store: Store | None, watched: Sequence[int]
    ) -> tuple[mx.array, list[mx.array]]:
        """As `DecoderLayer`."""
        batch, count, _ = x.shape
        heads = self.qkv_proj(x).reshape(batch, count, -1, self.head_dim).transpose(0, 2, 1, 3)
        q_and_k, v = mx.split(heads, [self.num_heads + self.num_kv_heads], axis=1)
        if "q_norm" in self:
            q, k = mx.split(q_and_k, [self.num_heads], axis=1)
            q_and_k = mx.concatenate([self.q_norm(q), self.k_norm(k)], axis=1)
        q, k = mx.split(turn(q_and_k) if turn is not None else q_and_k, [self.num_heads], axis=1)
        if store is not None:
            k, v = store(k, v)
        scale = self.head_dim**-0.5
        output = attention(q, k, v, scale=scale, mask=mask).transpose(0, 2, 1, 3).reshape(batch, count, -1)
        group = self.num_heads // self.num_kv_heads
        weights = [_weights(q[:, head], k[:, head // group], scale, mask) for head in watched]
        return self.o_proj(output), weights


class CrossAttention(nn.Module):
    """Attention to an encoder's states, whose keys and values are computed once."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.head_dim, width = config.head_dim, config.num_heads * config.head_dim
        self.q_proj = Linear(config.hidden_size, width, bias=config.qkv_bias)
        self.kv_proj = Linear(config.hidden_size, 2 * width, bias=config.qkv_bias)
        self.o_proj = Linear(width, config.hidden_size, bias=config.output_bias)

    def remember(self, states: mx.array) -> tuple[mx.array, mx.array]:
        """(A, M, hidden_size) to keys and values, (A, heads, M, D)."""
        heads = self.kv_proj(states).reshape(*states.shape[:2], 2, -1, self.head_dim)
        keys, values = (mx.contiguous(heads[:, :, i].swapaxes(1, 2)) for i in range(2))  # no views: they are read often
        return keys, values

    def __call__(
        self, x: mx.array, memory: tuple[mx.array, mx.array], watched: Sequence[int]
    ) -> tuple[mx.array, list[mx.array]]:
        """(B, T, hidden_size) to the same, and the watched heads' scores, (B, T, M) each."""
        keys, values = memory
        (batch, count, _), sources = x.shape, len(keys)
        q = self.q_proj(x).reshape(sources, -1, keys.shape[1], self.head_dim).swapaxes(1, 2)  # (A, heads, B / A * T, D)
        scale = self.head_dim**-0.5
        output = attention(q, keys, values, scale=scale).swapaxes(1, 2).reshape(batch, count, -1)
        scores = [_scores(q[:, head], keys[:, head], scale).reshape(batch, count, -1) for head in watched]
        return self.o_proj(output), scores


class FeedForward(nn.Module):
    """The gated SwiGLU (Shazeer 2020, arXiv:2002.05202), its two inward layers in one product, or a GELU."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        width, bias = config.intermediate_size, config.mlp_bias
        if config.mlp == "swiglu":
            self.gate_up_proj = Linear(config.hidden_size, 2 * width, bias=bias)
        else:
            self.activation = gelu if config.mlp == "gelu" else gelu_tanh
            self.up_proj = Linear(config.hidden_size, width, bias=bias)
        self.down_proj = Linear(width, config.hidden_size, bias=bias)

    def __call__(self, x: mx.array) -> mx.array:
        """(B, T, hidden_size) to the same."""
        if "gate_up_proj" in self:
            gate, up = mx.split(self.gate_up_proj(x), 2, axis=-1)
            return self.down_proj(silu(gate) * up)
        return self.down_proj(self.activation(self.up_proj(x)))


def causal_mask(
    first: int,
    start: int,
    count: int,
    dtype: mx.Dtype,
    window: int | None = None,
    padding: mx.array | None = None,
) -> mx.array | None:
    """What is added to the scores of positions `start` to `start + count` for keys from position `first` on.

    0, and -inf for what follows a position, lies `window` or more before it, or is among the first `padding` (B,) of
    its sequence: (count, keys), or (B, 1, count, keys) with padding. None where they see everything.
    """
    end = start + count
    if count == 1 and padding is None and (window is None or end - first <= window):
        return None
    keys = mx.arange(first, end)
    distance = mx.arange(start, end)[:, None] - keys
    hidden = distance < 0 if window is None else (distance < 0) | (distance >= window)
    if padding is not None:  # which sees itself, since of no scores there is no softmax
        hidden = hidden | ((keys < padding[:, None, None, None]) & (distance != 0))
    return mx.where(hidden, mx.array(-mx.inf, dtype), mx.array(0, dtype))


def _weights(q: mx.array, k: mx.array, scale: float, mask: mx.array | None) -> mx.array:
    """Of one head, (B, T, D), (B, keys, D) and a mask of all heads alike to (B, T, keys)."""
    scores = _scores(q, k, scale)
    if mask is not None:
        scores = scores + (mask if mask.ndim == 2 else mask[:, 0])
    return mx.softmax(scores, axis=-1)


def _scores(q: mx.array, k: mx.array, scale: float) -> mx.array:
    """(B, T, D) and (B, keys, D) to (B, T, keys)."""
    return (q.astype(mx.float32) * scale) @ k.astype(mx.float32).swapaxes(-1, -2)


def _norm(config: DecoderConfig) -> nn.Module:
    return {"rms": nn.RMSNorm, "layer": nn.LayerNorm}[config.norm](config.hidden_size, config.norm_eps)
