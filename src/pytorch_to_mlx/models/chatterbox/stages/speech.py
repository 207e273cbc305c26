"""All together, with upstream's noise replayed: text to speech, `tts/...`, and voice conversion, `vc/...`."""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.components.flow.mel import mel_spectrogram
from pytorch_to_mlx.models.chatterbox.model import ChatterboxModel
from pytorch_to_mlx.models.chatterbox.t3.generation import SamplingSettings
from pytorch_to_mlx.models.chatterbox.voice import SHAPES, T3_PROMPT, Speaker
from pytorch_to_mlx.noise import ReplayedNoise
from pytorch_to_mlx.parity import Bar, tap
from pytorch_to_mlx.tasks import Voice

BARS: dict[str, Bar] = {
    "*tokens": Bar("exact"),
    "mel": Bar("relative", 1e-4),
    "log_mel": Bar("relative", 1e-2),
    "source_16k": Bar("relative", 1e-5),
}
"""A waveform is judged by its log-mel spectrum: the phase of the source has no float32 digits to agree on."""
LAYOUTS = {"*mel": "NCL->NLC"}
ALIVE = {"distinct_tokens": 10, "voiced": 0.5, "loudness": 1e-3}
SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "cfg_weight")


def run(model: ChatterboxModel, inputs: Mapping[str, np.ndarray], noise: Mapping[str, np.ndarray]) -> None:
    """`tts/...` has a text, `vc/...` a recording."""
    replayed = ReplayedNoise(noise)
    if "wav" in inputs:
        speaker = _speaker(model, {T3_PROMPT: np.zeros((1, 0)), "t3.speaker_emb": np.zeros((1, 256)), **inputs})
        tokens = list(map(int, model.tokenize(Audio(inputs["wav"], int(inputs["rate"])))))
    else:
        speaker = _speaker(model, inputs)
        given = {name: float(inputs[name]) for name in SAMPLING if name in inputs}
        tokens = list(
            model.tokens(
                _text(inputs, "text"),
                speaker,
                replayed,
                language=_text(inputs, "language_id") if "language_id" in inputs else None,
                exaggeration=float(inputs["exaggeration"]) if "exaggeration" in inputs else None,
                settings=SamplingSettings.given(model.config.t3, given),
                max_tokens=int(inputs["max_tokens"]),
            )
        )
        tap("tokens", np.array(tokens))
    wav = model.speak(tokens, speaker, replayed)
    tap("log_mel", mel_spectrogram(mx.array(wav)[None]))
    tap("watermarked", model.apply(Audio(wav, model.sample_rate)).samples)


def _speaker(model: ChatterboxModel, inputs: Mapping[str, np.ndarray]) -> Speaker:
    kind = model.config.voice
    return Speaker.of(Voice(kind, {name: inputs[name] for name in SHAPES}), kind)


def _text(inputs: Mapping[str, np.ndarray], name: str) -> str:
    return bytes(inputs[name].astype(np.uint8)).decode()
