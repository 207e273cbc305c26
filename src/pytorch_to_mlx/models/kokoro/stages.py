"""Each stage of Kokoro beside upstream's; references/_kokoro.py tells the cases and taps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.models.kokoro.decoder import Decoder
from pytorch_to_mlx.models.kokoro.source import Source
from pytorch_to_mlx.noise import ReplayedNoise
from pytorch_to_mlx.parity import FLOAT32, Bar, tap
from pytorch_to_mlx.port import Stage

if TYPE_CHECKING:
    from pytorch_to_mlx.models.kokoro.model import KokoroModel

Arrays = Mapping[str, np.ndarray]
EXACT = Bar("exact")
PHASES = Bar("relative", 1e-5, floors=2)
"""Of what accumulates phase: twice upstream's own error, which is a thousandth within seconds."""


def run_text(model: KokoroModel, inputs: Arrays, noise: Arrays) -> None:
    """Phonemes to frames."""
    network = model.network
    network.frames(mx.array(inputs["tokens"])[None], mx.array(inputs["style"]), float(inputs["speed"]))


def run_source(source: Source, inputs: Arrays, noise: Arrays) -> None:
    """Pitch to the source, and the recorded source to its spectrum."""
    drawn = mx.array(noise["source"])
    tap("source", source(mx.array(inputs["f0"]), drawn.reshape(1, -1, drawn.shape[-1])))
    harmonics = source.harmonics(mx.array(inputs["source"]))[0]
    magnitude, phase = mx.split(harmonics, 2, axis=-1)
    tap("ends", mx.stack([phase[1:-1, 0], phase[1:-1, -1]], axis=-1))
    tap("rebuilt", mx.concatenate([magnitude * mx.cos(phase), magnitude * mx.sin(phase)], axis=-1))


def run_decoder(decoder: Decoder, inputs: Arrays, noise: Arrays) -> None:
    """Frames and the recorded harmonics to sound."""
    asr = mx.array(inputs["asr"]).swapaxes(1, 2).astype(decoder.F0_conv.weight.dtype)
    style = mx.array(inputs["style"]).astype(asr.dtype)
    pitch, loudness, harmonics = (mx.array(inputs[name]) for name in ("f0", "n", "harmonics"))
    tap("wav", decoder(asr, pitch, loudness, style, harmonics))


def run_speech(model: KokoroModel, inputs: Arrays, noise: Arrays) -> None:
    """Phonemes to sound."""
    phonemes = inputs["phonemes"].astype(np.uint8).tobytes().decode()
    wav = model.say(phonemes, inputs["voice"], float(inputs["speed"]), ReplayedNoise(noise))
    tap("wav", wav)
    tap("loudness", 10 * np.log10(np.mean(np.square(wav), axis=1)))
    tap("levels", 10 * np.log10(np.mean(np.square(wav.reshape(-1, model.frame)), axis=1)))


TEXT = Stage(
    run=run_text,
    bars={"float32": {"durations": EXACT, "*": FLOAT32}},
    layouts={"predictor.F0.*": "NCL->NLC", "predictor.N.*": "NCL->NLC", "text_encoder": "NCL->NLC", "asr": "NCL->NLC"},
    alive={"voiced": 0.5, "durations": 3, "changed": 10},
)
SOURCE = Stage(
    run=run_source,
    network="decoder.generator.m_source",
    bars={"float32": {"l_sin_gen": PHASES, "source": PHASES, "*": FLOAT32}},
    alive={"loudness": 0.01},
)
DECODER = Stage(
    run=run_decoder,
    network="decoder",
    bars={"float32": {"wav": Bar("decibels", 75), "*": FLOAT32}},
    names={"asr_res": "asr_res.0"},
    layouts={
        **dict.fromkeys(("*_conv", "encode", "asr_res", "decode.*"), "NCL->NLC"),
        **dict.fromkeys((f"generator.{name}" for name in ("ups.*", "noise_*", "resblocks.*", "conv_post")), "NCL->NLC"),
    },
    alive={"loudness": 1e-3, "changed": 0.05},
)
SPEECH = Stage(
    run=run_speech,
    bars={
        "float32": {
            "durations": EXACT,
            "wav": Bar("info"),
            "loudness": Bar("relative", 0.001),
            "levels": Bar("relative", 0.02),
        }
    },
    alive={"loudness": -60, "distance": 0.5},
    control_case="",
)
STAGES = {"text": TEXT, "source": SOURCE, "decoder": DECODER, "tts": SPEECH}
