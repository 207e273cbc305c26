"""The tokenizer's networks checked each by itself."""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.components.qwen3_25hz import voice
from pytorch_to_mlx.components.qwen3_25hz.dit import DiT
from pytorch_to_mlx.components.qwen3_25hz.encoder import SpeechEncoder
from pytorch_to_mlx.components.qwen3_25hz.network import SpeechDecoder
from pytorch_to_mlx.components.qwen3_25hz.vocoder import Vocoder
from pytorch_to_mlx.parity import FLOAT32, Bar, tap
from pytorch_to_mlx.port import Stage

Arrays = Mapping[str, np.ndarray]

CODES = Bar("exact", candidates="distances")
SOUND = Bar("decibels", 75)


def _encode(network: SpeechEncoder, inputs: Arrays, noise: Arrays) -> None:
    """The codes of `wav`, samples at 16 kHz."""
    mx.eval(network(inputs["wav"]))


def _given(inputs: Arrays) -> tuple[mx.array, mx.array, mx.array]:
    codes = mx.array(inputs["codes"].astype(np.int32))
    return codes[None], mx.array(inputs["xvector"])[None], mx.array(inputs["ref_mel"])[None]


def _solve(network: DiT, inputs: Arrays, noise: Arrays) -> None:
    """The spectrum of codes in a voice; with `time`, one step from the state that stands for noise."""
    state = mx.array(noise["flow"])[None]
    if "time" not in inputs:
        mx.eval(network(*_given(inputs), state))
        return
    mx.eval(network.velocity(state, mx.array(inputs["time"]).reshape(1), network.context(*_given(inputs))))


def _vocode(network: Vocoder, inputs: Arrays, noise: Arrays) -> None:
    """The sound of `mel`, (1, mels, frames)."""
    tap("wav", network(mx.array(inputs["mel"]).swapaxes(1, 2)))


def _decode(network: SpeechDecoder, inputs: Arrays, noise: Arrays) -> None:
    tap("wav", network(*_given(inputs), mx.array(noise["flow"])[None]))


def _hear(model: object, inputs: Arrays, noise: Arrays) -> None:
    samples = voice.normed(inputs["wav"])
    tap("features", voice.features(samples))
    tap("ref_mel", voice.reference_mel(samples))


_SPEAKER = "input_embed.spk_encoder"

STAGES = {
    "encode": Stage(
        run=_encode,
        network="encoder",
        bars={"float32": {"codes": CODES, "*": FLOAT32}},
        layouts={"tokenizer.audio_vq_downsample": "NCL->NLC"},
        alive={"distinct": 0.25, "changed": 0.2},
        control_case="control",
    ),
    "dit": Stage(
        run=_solve,
        network="decoder.dit",
        bars={"float32": {"*": FLOAT32}},
        layouts={f"{_SPEAKER}.*": "NCL->NLC", "mel": "NCL->NLC"},
        alive={"codes": 0.2, "xvector": 0.02, "ref_mel": 0.02},
        control_case="control",
    ),
    "bigvgan": Stage(
        run=_vocode,
        network="decoder.bigvgan",
        bars={"float32": {"wav": SOUND, "*": FLOAT32}},
        layouts=dict.fromkeys(("conv_pre", "ups.*", "resblocks.*", "activation_post"), "NCL->NLC"),
        alive={"loudness": 0.01, "unclipped": 0.95},
        control_case="control",
    ),
    "decode": Stage(
        run=_decode,
        network="decoder",
        bars={"float32": {"wav": SOUND}},
        alive={"loudness": 0.01, "unclipped": 0.95},
        control_case="",
    ),
    "heard": Stage(run=_hear, bars={"float32": {"*": FLOAT32}}, control_case=""),
}
