"""The talker, texts, voices and speech beside upstream's, each from the inputs of its cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.components.ecapa import SpeakerEncoder
from pytorch_to_mlx.models.qwen3_tts.generation import Silence, generate
from pytorch_to_mlx.models.qwen3_tts.model import Qwen3TTSModel
from pytorch_to_mlx.models.qwen3_tts.prompt import (
    ENDING,
    REFERENCE_ENDING,
    ROLE,
    Prompt,
    Request,
    language_token,
    prompt,
)
from pytorch_to_mlx.models.qwen3_tts.sampling import SamplingSettings
from pytorch_to_mlx.models.qwen3_tts.talker import Talker
from pytorch_to_mlx.noise import ReplayedNoise
from pytorch_to_mlx.parity import tap

Arrays = Mapping[str, np.ndarray]
BEFORE, AFTER = list(range(11, 11 + ROLE)), list(range(21, 21 + ENDING))
"""Tokens around a text where it is random ones."""
FIELDS = ("text", "language", "speaker", "instruction", "reference", "codes", "embedding")


def run_speaker(network: SpeakerEncoder, inputs: Arrays, noise: Arrays) -> None:
    """The embedding of `wav`, samples at 24 kHz."""
    tap("embedding", network.embed(inputs["wav"]))


def run_text(model: Qwen3TTSModel, inputs: Arrays, noise: Arrays) -> None:
    """The tokens of a text as what is said, what a reference says, and an instruction."""
    text = _string(inputs, "text")
    tap("said", np.array(model.tokenizer.said(text)))
    tap("heard", np.array(model.tokenizer.heard(text)))
    tap("instruction", np.array(model.tokenizer.instruction(text)))


def run_voice(model: Qwen3TTSModel, inputs: Arrays, noise: Arrays) -> None:
    """A reference recording, analysed."""
    model.prepare_voice(Audio(inputs["wav"], int(inputs["rate"])), "A voice that somebody knows.")


def run_talker(network: Talker, inputs: Arrays, noise: Arrays) -> None:
    """With `count` teacher-forced, else generating, of one utterance or several."""
    if "count" in inputs:
        return _force(network, inputs)
    rows = [""] if "text" in inputs else [f".{n}" for n in range(sum(name.startswith("text.") for name in inputs))]
    prompts = [prompt(network, _request(network, inputs, row)) for row in rows]
    for row, each in zip(rows, prompts, strict=True):
        tap(f"prefix{row}", each.prefix)
    settings = _settings(inputs)
    frames, stop = int(inputs["frames"]), int(inputs.get("eos_token_id", network.config.tokens.eos))
    noises = [ReplayedNoise(noise)] * len(rows)
    said = list(generate(network, prompts, settings, noises, frames, stop=stop))
    if len(rows) > 1:
        tap("codes", np.stack(said, axis=1))
        return
    tap("trailing", prompts[0].trailing)
    _tap_codes(network, prompts[0], settings, np.concatenate(said), inputs["said"], stop)


def run_speech(model: Qwen3TTSModel, inputs: Arrays, noise: Arrays) -> None:
    """From text to sound."""
    told: dict[str, Any] = {
        name: _string(inputs, name) for name in ("language", "speaker", "instruct") if name in inputs
    }
    if "wav" in inputs:
        recording = Audio(inputs["wav"], int(inputs["rate"]))
        text = _string(inputs, "ref_text") if "ref_text" in inputs else None
        told["voice"] = model.prepare_voice(recording, text)
    request = model.request(_string(inputs, "text"), **told)
    frames = model.frames([request], _settings(inputs), [ReplayedNoise(noise)], int(inputs["frames"]))
    said = [frame for (frame,) in frames]
    tap("said", np.stack(said))
    model.speak(said, request)


def _force(network: Talker, inputs: Arrays) -> None:
    """A text and frames beside it, position by position; then the other codes of the first frames."""
    frames, count = mx.array(inputs["frames"].astype(np.int32)), int(inputs["count"])
    text = network.embed_text(mx.array(inputs["text"].astype(np.int32))[None])
    hidden, logits = network.first(text + network.embed_frames(frames[None]))
    mx.eval(logits, network.other_logits(hidden[0, :count], frames[:count]))


def _tap_codes(
    network: Talker, spoken: Prompt, settings: SamplingSettings, said: np.ndarray, theirs: np.ndarray, stop: int
) -> None:
    """Codes (frames, codes), and greedy ones' scores, which are of upstream's codes, in one pass.

    After a greedy code that is not upstream's, each is what follows from upstream's before it: so one tie does not make
    all that follows incomparable.
    """
    if not settings.temperature:
        hidden, logits = _forced(network, spoken, theirs)
        first = _scores(Silence(network.config, stop), settings, logits, theirs[:, 0])
        others = network.other_logits(hidden, mx.array(theirs.astype(np.int32))).astype(mx.float32)
        tap("first_scores", mx.where(mx.isinf(first), 0.0, first))
        tap("other_scores", others.reshape(-1, others.shape[-1]))
        forced = np.column_stack([np.array(mx.argmax(first, axis=-1)), np.array(mx.argmax(others, axis=-1))])
        same = np.arange(theirs.size) < len(said) * theirs.shape[1]
        same[: said.size] &= said.reshape(-1)[: theirs.size] == theirs.reshape(-1)[: said.size]
        if not same.all():
            until = int(np.argmin(same)) + 1
            said = np.concatenate([said.reshape(-1)[:until], forced.reshape(-1)[until:]]).reshape(theirs.shape)
    tap("first", said[:, 0])
    tap("others", said[:, 1:].reshape(-1))


def _forced(network: Talker, spoken: Prompt, frames: np.ndarray) -> tuple[mx.array, mx.array]:
    """Hidden states (n, hidden_size) and logits (n, vocabulary) of the first codes of frames (n, codes)."""
    before = mx.array(frames[:-1].astype(np.int32))
    told = mx.concatenate([spoken.trailing, mx.broadcast_to(spoken.pad, (len(frames), len(spoken.pad)))])
    embedded = network.embed_frames(before[None])[0] + told[: len(before)]
    hidden, logits = network.first(mx.concatenate([spoken.prefix, embedded])[None])
    return hidden[0, -len(frames) :], logits[0, -len(frames) :].astype(mx.float32)


def _scores(silence: Silence, settings: SamplingSettings, logits: mx.array, codes: np.ndarray) -> mx.array:
    """What greedy first codes are the largest of, (n, vocabulary)."""
    seen = np.zeros(logits.shape, bool)
    for frame in range(len(codes)):
        seen[frame, codes[:frame]] = True
    scores = silence(logits, mx.arange(len(codes)))
    for process in settings.talker_processors:
        scores = process(scores, mx.array(seen))
    return scores


def _request(network: Talker, inputs: Arrays, row: str) -> Request:
    """What `inputs` tells of an utterance of random tokens."""
    told = {name: inputs[f"{name}{row}"] for name in FIELDS if f"{name}{row}" in inputs}
    speaker = _string(told, "speaker") if "speaker" in told else None
    who = network.config.speakers[speaker] if speaker else None
    reference = None
    if "codes" in told:
        reference = ([*BEFORE, *map(int, told["reference"]), *AFTER[:REFERENCE_ENDING]], told["codes"])
    return Request(
        [*BEFORE, *map(int, told["text"]), *AFTER],
        language=language_token(network.config, _string(told, "language"), speaker),
        speaker=mx.array(told["embedding"].astype(np.float32)) if "embedding" in told else who,
        instruction=[*map(int, told.get("instruction", ()))],
        reference=reference,
        streamed=bool(inputs["streamed"]),
    )


def _settings(inputs: Arrays) -> SamplingSettings:
    """Upstream's defaults, or none of them where the most likely codes are taken."""
    defaults = SamplingSettings()
    return defaults if inputs["do_sample"] else replace(defaults, temperature=0.0, subtalker_temperature=0.0)


def _string(inputs: Arrays, name: str) -> str:
    return bytes(inputs[name].astype(np.uint8)).decode()
