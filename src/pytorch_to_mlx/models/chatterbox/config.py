"""What distinguishes Chatterbox's variants: settings of one implementation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pytorch_to_mlx.models.chatterbox.t3.config import T3Config


@dataclass(frozen=True)
class ChatterboxConfig:
    """One variant.

    Attributes:
        t3: the token generator.
        text: which tokenizer reads the text.
        meanflow: whether the flow is the distilled one of two steps, else ten with guidance.
        prompt_seconds: how much of a reference recording T3 hears.
        least_prompt_seconds: a shorter reference is refused.
        voice: the kind of its voices.
        loudness: reference recordings are brought to this loudness in LUFS, if given.
        trailing_silence: tokens of silence after the speech.
        default_voice: whether the folder holds upstream's default voice.
    """

    t3: T3Config
    text: Literal["english", "multilingual", "gpt2"]
    meanflow: bool
    prompt_seconds: float
    voice: str
    least_prompt_seconds: float = 0.0
    loudness: float | None = None
    trailing_silence: int = 0
    default_voice: bool = False
