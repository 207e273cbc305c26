"""The three sizes of T3 (chatterbox/models/t3/modules/t3_config.py, llama_configs.py and tts_turbo.py)."""

from __future__ import annotations

from dataclasses import dataclass

from pytorch_to_mlx.components.decoder import DecoderConfig, Llama3Scaling

START_TEXT, STOP_TEXT = 255, 0
START_SPEECH, STOP_SPEECH = 6561, 6562

MAX_TEXT_TOKENS = 2048
MAX_SPEECH_TOKENS = 4096
"""What the tables of learned positions have room for, start and stop tokens not counted."""


@dataclass(frozen=True)
class T3Config:
    """One variant.

    Attributes:
        text_vocabulary, speech_vocabulary: numbers of tokens, special ones included.
        prompt_length: the most speech tokens that are heard of a reference recording.
        backbone: the transformer.
        learned_positions: whether text and speech have tables of positions of their own.
        perceiver: whether the prompt is resampled to 32 vectors.
        emotion: whether it is told how expressive to be.
        multilingual: whether the alignment analyser watches over generation.
        turbo: Turbo's way to generate: bare text, no guidance, other sampling.
    """

    text_vocabulary: int
    speech_vocabulary: int
    prompt_length: int
    backbone: DecoderConfig
    learned_positions: bool = True
    perceiver: bool = True
    emotion: bool = True
    multilingual: bool = False
    turbo: bool = False


LLAMA_520M = DecoderConfig(
    num_layers=30,
    hidden_size=1024,
    intermediate_size=4096,
    num_heads=16,
    num_kv_heads=16,
    head_dim=64,
    rope_theta=500000.0,
    rope_scaling=Llama3Scaling(
        factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192
    ),
)

GPT2_MEDIUM = DecoderConfig(
    num_layers=24,
    hidden_size=1024,
    intermediate_size=4096,
    num_heads=16,
    num_kv_heads=16,
    head_dim=64,
    norm="layer",
    mlp="gelu_tanh",
    qkv_bias=True,
    output_bias=True,
    mlp_bias=True,
    max_positions=8196,
)

ENGLISH = T3Config(text_vocabulary=704, speech_vocabulary=8194, prompt_length=150, backbone=LLAMA_520M)

MULTILINGUAL = T3Config(
    text_vocabulary=2454, speech_vocabulary=8194, prompt_length=150, backbone=LLAMA_520M, multilingual=True
)

TURBO = T3Config(
    text_vocabulary=50276,
    speech_vocabulary=6563,
    prompt_length=375,
    backbone=GPT2_MEDIUM,
    learned_positions=False,
    perceiver=False,
    emotion=False,
    turbo=True,
)
