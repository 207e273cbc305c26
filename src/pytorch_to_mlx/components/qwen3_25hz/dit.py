"""From codes to a mel spectrogram: modeling_qwen3_tts_tokenizer_v1.py, Qwen3TTSTokenizerV1DecoderDiTModel.

Flow matching (arXiv:2210.02747) by a transformer whose norms the time modulates (DiT, arXiv:2212.09748; F5-TTS,
arXiv:2410.06885), solved with Euler's method and classifier-free guidance (arXiv:2207.12598). Attention stays within
blocks of frames; in some layers it sees one block more.
"""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from pytorch_to_mlx.components.ecapa import SpeakerEncoder
from pytorch_to_mlx.components.qwen3_25hz.config import DiTConfig
from pytorch_to_mlx.layers.attention import attention
from pytorch_to_mlx.layers.elementwise import gelu_tanh, silu
from pytorch_to_mlx.layers.linear import Linear
from pytorch_to_mlx.parity import tap

GUIDANCE = 0.5
STEPS = 9
TIME_CHANNELS, LONGEST_PERIOD, TIME_SCALE = 256, 10000, 1000
EPSILON = 1e-6


class TimeEmbedding(nn.Module):
    """Sinusoids of the time, then two linear layers."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.time_mlp = [Linear(TIME_CHANNELS, hidden), Linear(hidden, hidden)]

    def __call__(self, time: mx.array) -> mx.array:
        """(batch,) between 0 and 1 to (batch, hidden)."""
        half = TIME_CHANNELS // 2
        rates = np.exp(np.arange(half, dtype=np.float32) * np.float32(-math.log(LONGEST_PERIOD) / (half - 1)))
        angles = (TIME_SCALE * time.astype(mx.float32))[:, None] * mx.array(rates)
        first, second = self.time_mlp
        encoded = mx.concatenate([mx.sin(angles), mx.cos(angles)], axis=-1).astype(first.weight.dtype)
        return second(silu(first(encoded)))


class CodeEmbedding(nn.Module):
    """A vector for each code, once for each of its frames."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.repeats = config.repeats
        self.codec_embed = nn.Embedding(config.codes, config.code_dim)

    def __call__(self, codes: mx.array) -> mx.array:
        """(batch, codes) to (batch, frames, code_dim)."""
        return mx.repeat(self.codec_embed(codes), self.repeats, axis=1)


class InputEmbedding(nn.Module):
    """The state beside what it is to become."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        inputs = config.mels + config.speaker.embedding + config.code_dim + config.xvector
        self.proj = Linear(inputs, config.hidden)
        self.spk_encoder = SpeakerEncoder(config.speaker)

    def __call__(self, x: mx.array, context: mx.array) -> mx.array:
        """(1, frames, mels) and (batch, frames, rest) to (batch, frames, hidden)."""
        x = mx.broadcast_to(x, (*context.shape[:2], x.shape[-1])).astype(context.dtype)
        return self.proj(mx.concatenate([x, context], axis=-1))


class Rotary(nn.Module):
    """Rotary positions (arXiv:2104.09864) of neighbouring pairs of channels; frequencies come with the weights."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.inv_freq = mx.zeros((head_dim // 2,))

    def __call__(self, frames: int) -> tuple[mx.array, mx.array]:
        """Cosines and sines, (frames, head_dim / 2) float32."""
        angles = mx.arange(frames, dtype=mx.float32)[:, None] * self.inv_freq.astype(mx.float32)
        return mx.cos(angles), mx.sin(angles)


class Attention(nn.Module):
    """Multi-head attention within blocks of frames and to their neighbours."""

    def __init__(self, config: DiTConfig, ahead: int, behind: int) -> None:
        super().__init__()
        self.heads, self.block, self.ahead, self.behind = config.heads, config.block, ahead, behind
        inner = config.heads * config.head_dim
        self.to_q, self.to_k, self.to_v = (Linear(config.hidden, inner) for _ in range(3))
        self.to_out = [Linear(inner, config.hidden)]

    def __call__(self, x: mx.array, turns: tuple[mx.array, mx.array]) -> mx.array:
        """(batch, frames, hidden) to the same."""
        q, k, v = (self._split(layer(x)) for layer in (self.to_q, self.to_k, self.to_v))
        mixed = block_attention(_turned(q, turns), _turned(k, turns), v, self.block, self.ahead, self.behind)
        return self.to_out[0](mixed.swapaxes(1, 2).flatten(2))

    def _split(self, x: mx.array) -> mx.array:
        return x.reshape(*x.shape[:2], self.heads, -1).swapaxes(1, 2)


def _turned(x: mx.array, turns: tuple[mx.array, mx.array]) -> mx.array:
    """(batch, heads, frames, depth), each pair of channels turned by its angle."""
    pairs = x.reshape(*x.shape[:-1], -1, 2)
    left, right = pairs[..., 0], pairs[..., 1]
    cos, sin = (each.astype(x.dtype) for each in turns)
    return mx.stack([left * cos - right * sin, right * cos + left * sin], axis=-1).reshape(x.shape)


def block_attention(q: mx.array, k: mx.array, v: mx.array, size: int, ahead: int, behind: int) -> mx.array:
    """Attention of each block of `size` frames to itself, `behind` blocks before it and `ahead` after it.

    Takes time and memory in proportion to the number of frames, which a mask over all of them would not.

    Args:
        q, k, v: (batch, heads, frames, depth).

    Returns:
        (batch, heads, frames, depth).
    """
    batch, heads, frames, depth = q.shape
    scale = depth**-0.5
    if frames <= size:
        return attention(q, k, v, scale=scale)
    count = -(-frames // size)
    reach = ahead + behind + 1

    def blocks(x: mx.array, before: int, after: int) -> mx.array:
        """(batch, heads, frames, depth) to (batch, count + before + after, heads, size, depth), zeros around."""
        x = mx.pad(x, [(0, 0), (0, 0), (before * size, (count + after) * size - frames), (0, 0)])
        return x.reshape(batch, heads, -1, size, depth).swapaxes(1, 2)

    def near(x: mx.array) -> mx.array:
        """What each block sees, (batch * count, heads, reach * size, depth)."""
        x = blocks(x, behind, ahead)
        return mx.concatenate([x[:, i : i + count] for i in range(reach)], axis=3).flatten(0, 1)

    places = np.arange(-behind * size, (ahead + 1) * size) + size * np.arange(count)[:, None]
    seen = np.logical_and(places >= 0, places < frames)[:, None, None]
    mask = mx.array(np.concatenate([seen] * batch))  # (batch * count, 1, 1, reach * size)
    mixed = attention(blocks(q, 0, 0).flatten(0, 1), near(k), near(v), scale=scale, mask=mask)
    mixed = mixed.reshape(batch, count, heads, size, depth).swapaxes(1, 2)
    return mixed.reshape(batch, heads, -1, depth)[:, :, :frames]


class ModulatedNorm(nn.Module):
    """A layer norm with `parts` shifts, scales and gates from the time."""

    def __init__(self, hidden: int, parts: int) -> None:
        super().__init__()
        self.parts = parts
        self.linear = Linear(hidden, parts * hidden)
        self.norm = nn.LayerNorm(hidden, EPSILON, affine=False)

    def modulation(self, time: mx.array) -> list[mx.array]:
        """(batch, hidden), after its activation, to (batch, 1, hidden) each."""
        return list(mx.split(self.linear(time)[:, None], self.parts, axis=-1))


class BlockNorm(ModulatedNorm):
    """Before attention; tells what follows it too."""

    def __init__(self, hidden: int) -> None:
        super().__init__(hidden, 6)

    def __call__(self, x: mx.array, time: mx.array) -> tuple[mx.array, ...]:
        """What attention is given, its gate, and shift, scale and gate of the layers that follow."""
        shift, scale, *rest = self.modulation(time)
        return self.norm(x) * (1 + scale) + shift, *rest


class LastNorm(ModulatedNorm):
    """Before the last layer."""

    def __init__(self, hidden: int) -> None:
        super().__init__(hidden, 2)

    def __call__(self, x: mx.array, time: mx.array) -> mx.array:
        """(batch, frames, hidden) to the same."""
        scale, shift = self.modulation(time)
        return self.norm(x) * (1 + scale) + shift


class FeedForward(nn.Module):
    """Two linear layers around GELU."""

    def __init__(self, hidden: int, inner: int) -> None:
        super().__init__()
        self.ff = [Linear(hidden, inner), Linear(inner, hidden)]

    def __call__(self, x: mx.array) -> mx.array:
        """(batch, frames, hidden) to the same."""
        first, second = self.ff
        return second(gelu_tanh(first(x)))


class Block(nn.Module):
    """Attention and two linear layers, each modulated by the time and added to its input."""

    def __init__(self, config: DiTConfig, layer: int) -> None:
        super().__init__()
        self.attn_norm = BlockNorm(config.hidden)
        self.attn = Attention(config, int(layer in config.ahead), int(layer in config.behind))
        self.ff_norm = nn.LayerNorm(config.hidden, EPSILON, affine=False)
        self.ff = FeedForward(config.hidden, config.ff_mult * config.hidden)

    def __call__(self, x: mx.array, time: mx.array, turns: tuple[mx.array, mx.array]) -> mx.array:
        """(batch, frames, hidden) to the same."""
        given, gate, shift, scale, last_gate = self.attn_norm(x, time)
        x = x + gate * self.attn(given, turns)
        return x + last_gate * self.ff(self.ff_norm(x) * (1 + scale) + shift)


class DiT(nn.Module):
    """The network and its solver."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        self.time_embed = TimeEmbedding(config.hidden)
        self.text_embed = CodeEmbedding(config)
        self.input_embed = InputEmbedding(config)
        self.rotary_embed = Rotary(config.head_dim)
        self.transformer_blocks = [Block(config, layer) for layer in range(config.layers)]
        self.norm_out = LastNorm(config.hidden)
        self.proj_out = Linear(config.hidden, config.mels)

    def context(self, codes: mx.array, xvector: mx.array, ref_mel: mx.array) -> mx.array:
        """What the state is to become, and in its place nothing: (2, frames, rest), the same at all times.

        Args:
            codes: (1, codes) int32.
            xvector: (1, xvector).
            ref_mel: (1, reference frames, mels).
        """
        dtype = self.proj_out.weight.dtype
        code = self.text_embed(mx.concatenate([codes, mx.zeros_like(codes)]))
        heard = self.input_embed.spk_encoder(mx.concatenate([ref_mel, mx.zeros_like(ref_mel)]).astype(dtype))
        voice = mx.concatenate([xvector, mx.zeros_like(xvector)]).astype(dtype)
        spread = [mx.broadcast_to(each[:, None], (*code.shape[:2], each.shape[-1])) for each in (heard, voice)]
        return mx.concatenate([spread[0], code, spread[1]], axis=-1)

    def velocity(self, x: mx.array, time: mx.array, context: mx.array) -> mx.array:
        """Where the state is going at a time, (1,), with guidance: (1, frames, mels) to the same, float32."""
        embedded = silu(self.time_embed(time))
        turns = self.rotary_embed(x.shape[1])
        hidden = self.input_embed(x, context)
        for block in self.transformer_blocks:
            hidden = block(hidden, embedded, turns)
        guided, free = mx.split(self.proj_out(self.norm_out(hidden, embedded)).astype(mx.float32), 2)
        return guided + (guided - free) * GUIDANCE

    def __call__(self, codes: mx.array, xvector: mx.array, ref_mel: mx.array, noise: mx.array) -> mx.array:
        """The spectrum of codes in a voice.

        Args:
            codes, xvector, ref_mel: as in `context`.
            noise: N(0, 1), (1, codes * repeats, mels).

        Returns:
            (1, codes * repeats, mels) float32.
        """
        context, times, x = self.context(codes, xvector, ref_mel), sway(STEPS), noise.astype(mx.float32)
        for step in range(STEPS):
            velocity = self.velocity(x, times[step : step + 1], context)
            x = tap(f"state.{step + 1}", x + velocity * (times[step + 1] - times[step]))
            mx.async_eval(x)
        return tap("mel", x)


def sway(steps: int) -> mx.array:
    """When the steps start and end, (steps + 1,) from 0 to 1, dense at first: F5-TTS's sway sampling of -1."""
    # numpy in float32, from both ends and in upstream's order, as torch.linspace: time is scaled by 1000 later.
    index = np.arange(steps + 1, dtype=np.float32)
    step = np.float32(1 / steps)
    times = np.where(index < (steps + 1) // 2, index * step, 1 - (steps - index) * step).astype(np.float32)
    return mx.array(times - (np.cos(np.float32(np.pi / 2) * times) - 1 + times))
