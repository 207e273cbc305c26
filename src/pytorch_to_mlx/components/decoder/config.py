"""The dimensions of a transformer decoder, and which of the published variations it has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from pytorch_to_mlx.errors import ConfigError


@dataclass(frozen=True)
class Llama3Scaling:
    """How Llama 3.1 stretches rotary wavelengths beyond the context it was first trained on."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int


@dataclass(frozen=True)
class DecoderConfig:
    """One decoder: Llama, Qwen2, Qwen3, GPT-2, Whisper and the transformers of Mimi and its kin are settings of it.

    Attributes:
        num_kv_heads: fewer than `num_heads` where groups of query heads share keys and values.
        norm: `rms` scales only, `layer` also centres and adds a bias.
        final_norm: whether there is one after the last layer.
        mlp: `swiglu` is down(silu(gate(x)) * up(x)), `gelu` is down(gelu(up(x))), `gelu_tanh` that with GPT-2's
            approximation.
        qkv_bias, output_bias, mlp_bias: whether these linear layers add a bias.
        qk_norm: RMS normalisation of each head's query and key (Qwen3).
        rope_theta: base of the rotary wavelengths; None for no rotation.
        rope_scaling: a change to those wavelengths.
        max_positions: size of a learned table that is added to the input; None for none.
        sliding_window: positions that each sees, itself included; None for all before it.
        layer_scale: a learned factor for each channel of what attention and feed-forward add (arXiv:2103.17239).
        cross_attention: whether layers attend to what an encoder made, after they have attended to themselves.
    """

    num_layers: Annotated[int, Field(le=1000)]
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    norm: Literal["rms", "layer"] = "rms"
    norm_eps: float = 1e-5
    final_norm: bool = True
    mlp: Literal["swiglu", "gelu", "gelu_tanh"] = "swiglu"
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    rope_theta: float | None = None
    rope_scaling: Llama3Scaling | None = None
    max_positions: int | None = None
    sliding_window: int | None = None
    layer_scale: bool = False
    cross_attention: bool = False

    def __post_init__(self) -> None:
        sizes = (self.num_layers, self.hidden_size, self.intermediate_size, self.num_heads, self.num_kv_heads)
        if min(*sizes, self.head_dim) < 1:
            raise ConfigError("decoder: every size must be at least 1")
        if not 0 <= self.norm_eps < float("inf"):
            raise ConfigError(f"decoder: norm_eps {self.norm_eps} is no small number")
        if self.num_heads % self.num_kv_heads:
            raise ConfigError(f"decoder: num_kv_heads {self.num_kv_heads} must divide num_heads {self.num_heads}")
        if self.rope_theta is not None and not 0 < self.rope_theta < float("inf"):
            raise ConfigError(f"decoder: rope_theta {self.rope_theta} is no base of wavelengths")
        if self.rope_theta is not None and self.head_dim % 2:
            raise ConfigError(f"decoder: rope_theta rotates pairs, but head_dim {self.head_dim} is odd")
        if self.rope_scaling is not None and self.rope_theta is None:
            raise ConfigError("decoder: rope_scaling needs rope_theta")
        if self.cross_attention and (self.layer_scale or self.sliding_window is not None):
            raise ConfigError("decoder: cross_attention goes with neither layer_scale nor sliding_window")
        if self.sliding_window is not None and self.sliding_window < 1:
            raise ConfigError("decoder: sliding_window must be at least 1")
