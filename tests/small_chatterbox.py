"""A Chatterbox to speak with in tests: T3 reduced, no networks that only prepare voices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
from text_files import write_english
from upstream_shapes import seeded_flow, seeded_hift

from pytorch_to_mlx.components.perth import Perth
from pytorch_to_mlx.models.chatterbox.config import ChatterboxConfig
from pytorch_to_mlx.models.chatterbox.model import ChatterboxModel
from pytorch_to_mlx.models.chatterbox.t3.config import ENGLISH
from pytorch_to_mlx.models.chatterbox.t3.network import T3
from pytorch_to_mlx.models.chatterbox.voice import EMBEDDING, PROMPT_MEL, PROMPT_TOKENS, SPEAKER, T3_PROMPT
from pytorch_to_mlx.tasks import Voice

KIND = "chatterbox"


def small_chatterbox(folder: Path, *, meanflow: bool = True) -> ChatterboxModel:
    """With the seeded weights of references, so that flow and vocoder are alive.

    Args:
        folder: where its tokenizer is written.
        meanflow: two steps of the flow, else ten with guidance.
    """
    mx.random.seed(0)
    backbone = replace(ENGLISH.backbone, num_layers=2, hidden_size=256, intermediate_size=256, head_dim=16)
    config = ChatterboxConfig(replace(ENGLISH, backbone=backbone), "english", meanflow, 6.0, KIND)
    s3gen: Any = SimpleNamespace(flow=seeded_flow(meanflow), mel2wav=seeded_hift())
    network: Any = SimpleNamespace(t3=T3(config.t3).eval(), s3gen=s3gen, perth=Perth().eval())
    mx.eval(network.t3.parameters(), network.perth.parameters())
    write_english(folder)
    return ChatterboxModel(network, config, folder)


def drawn_voice(prompt_tokens: int = 4) -> Voice:
    """Of no one."""
    draw = np.random.default_rng(0)
    return Voice(
        KIND,
        {
            SPEAKER: draw.random((1, 256), np.float32),
            T3_PROMPT: draw.integers(6561, size=(1, 20)).astype(np.int32),
            PROMPT_TOKENS: draw.integers(6561, size=(1, prompt_tokens)).astype(np.int32),
            PROMPT_MEL: (2 * draw.normal(size=(1, 2 * prompt_tokens, 80)) - 6).astype(np.float32),
            EMBEDDING: draw.normal(size=(1, 192)).astype(np.float32),
        },
    )
