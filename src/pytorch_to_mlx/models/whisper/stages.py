"""Each stage of Whisper beside upstream's; references/_whisper.py tells the cases and taps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.components.whisper.mel import RATE
from pytorch_to_mlx.models.whisper.alignment import align
from pytorch_to_mlx.models.whisper.decoding import Request
from pytorch_to_mlx.models.whisper.network import AudioEncoder, TextDecoder
from pytorch_to_mlx.models.whisper.options import DecodingOptions
from pytorch_to_mlx.models.whisper.spectrogram import Spectrogram
from pytorch_to_mlx.noise import ReplayedNoise
from pytorch_to_mlx.parity import FLOAT32, Bar, tap
from pytorch_to_mlx.port import Stage

if TYPE_CHECKING:
    from pytorch_to_mlx.models.whisper.model import WhisperModel

Arrays = Mapping[str, np.ndarray]
EXACT = Bar("exact")
TOKENS = Bar("exact", candidates="scores")
HUNDREDTHS = 100
MOST_LAYERS = 32


def run_encoder(encoder: AudioEncoder, inputs: Arrays, noise: Arrays) -> None:
    """Sound to states."""
    if "mel" in inputs:
        mel = mx.array(inputs["mel"])
    else:
        spectrogram = Spectrogram([inputs["wav"]], encoder.conv1.weight.shape[-1])
        mel = spectrogram.window(0, spectrogram.frames)
    tap("states", encoder.states(tap("mel", mel)[None]))


def run_decoder(decoder: TextDecoder, inputs: Arrays, noise: Arrays) -> None:
    """Tokens and states to logits."""
    states = mx.array(inputs["states"]).astype(decoder.wpe.weight.dtype)
    hidden = decoder.read(mx.array(inputs["tokens"])[None], None, decoder.remember(states))
    tap("logits", decoder.logits(tap("hidden", hidden)))


def run_language(model: WhisperModel, inputs: Arrays, noise: Arrays) -> None:
    """States to languages."""
    model.decoder.languages(mx.array(inputs["states"]))


def run_decoding(model: WhisperModel, inputs: Arrays, noise: Arrays) -> None:
    """States to text."""
    settings = json.loads(_text(inputs["settings"]))
    language, temperature = settings.pop("language"), settings.pop("temperature", 0.0)
    before = settings.pop("prompt", ())
    # Texts that have all ended are seen a step late: what that step draws is dropped.
    drawn = ReplayedNoise({name: np.concatenate([each, np.ones_like(each[:1])]) for name, each in noise.items()})
    size = model.config.n_vocab

    def draw(step: int, group: int) -> mx.array:
        return drawn.exponential("whisper", step, 1, (group, size))[0]

    options = DecodingOptions(**settings)
    request = Request(mx.array(inputs["states"])[0], language, before, temperature, options, draw)
    (found,) = model.decoder.decode([request])
    tap("tokens", np.array(found.tokens))
    tap("measures", np.array([found.avg_logprob, found.no_speech_prob], np.float32))


def run_words(model: WhisperModel, inputs: Arrays, noise: Arrays) -> None:
    """States and tokens to the times of words."""
    states, tokens = mx.array(inputs["states"])[0], inputs["tokens"].tolist()
    found = align(model.decoder, states, tokens, int(inputs["frames"]), _text(inputs["language"]), "transcribe")
    tap("starts", np.array([round(HUNDREDTHS * word.start) for word in found]))
    tap("ends", np.array([round(HUNDREDTHS * word.end) for word in found]))
    tap("probabilities", np.array([word.probability for word in found], np.float32))


def run_transcription(model: WhisperModel, inputs: Arrays, noise: Arrays) -> None:
    """Sound to text, with the times of words where they are asked for."""
    settings = json.loads(_text(inputs["settings"]))
    found = model.transcribe(Audio(inputs["wav"], RATE), noise=ReplayedNoise(noise), **settings)
    tap("text", _numbers(found.text))
    tap("language", _numbers(found.language))
    tap("tokens", np.array([token for segment in found.segments for token in segment.tokens]))
    times = [(round(HUNDREDTHS * s.start), round(HUNDREDTHS * s.end), s.seek) for s in found.segments]
    tap("times", np.array(times))
    words = [word for segment in found.segments for word in segment.words or ()]
    if words:
        tap("words", np.array([(round(HUNDREDTHS * word.start), round(HUNDREDTHS * word.end)) for word in words]))


def _text(numbers: np.ndarray) -> str:
    """Of bytes of UTF-8."""
    return bytes(numbers.tolist()).decode()


def _numbers(text: str) -> np.ndarray:
    """Bytes of UTF-8."""
    return np.frombuffer(text.encode(), np.uint8).astype(np.int64)


def _less_precise(name: str) -> dict[str, dict[str, Bar]]:
    """Bars of what is not float32, by mode; `docs/whisper.md` has what was measured."""
    limits = {"float16": 0.01, "bfloat16": 0.05, "8-bit": 0.02, "4-bit": 0.2}
    return {mode: {name: Bar("relative", limit)} for mode, limit in limits.items()}


ENCODER = Stage(
    run=run_encoder,
    network="encoder",
    bars={"float32": {"*": FLOAT32}, **_less_precise("states")},
    layouts={"conv?": "NCL->NLC"},
    alive={"loudest": 1},
)
DECODER = Stage(
    run=run_decoder,
    network="decoder",
    bars={"float32": {"*": FLOAT32}, **_less_precise("logits")},
    names={f"blocks.{i}": f"layers.{i}" for i in range(MOST_LAYERS)},
    alive={"changed": 0.1},
    control_case="control",
)
LANGUAGE = Stage(run=run_language, bars={"float32": {"languages": Bar("relative", 1e-4)}}, control_case="")
DECODING = Stage(
    run=run_decoding,
    bars={"float32": {"tokens": TOKENS, "scores": FLOAT32, "measures": Bar("relative", 1e-4)}},
    alive={"distinct": 2},  # trained models repeat themselves where no end is allowed
    control_case="",
)
WORDS = Stage(
    run=run_words,
    bars={"float32": {"starts": EXACT, "ends": EXACT, "matrix": Bar("relative", 1e-3), "*": FLOAT32}},
    alive={"words": 2},
    control_case="",
)
TRANSCRIPTION = Stage(run=run_transcription, bars={"float32": {"*": EXACT}}, control_case="")
"""Of what somebody's recordings say, which may be nothing."""
STAGES = {
    "encoder": ENCODER,
    "decoder": DECODER,
    "language": LANGUAGE,
    "decode": DECODING,
    "words": WORDS,
    "transcribe": TRANSCRIPTION,
}
