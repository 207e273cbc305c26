"""A speaker as Chatterbox hears one: prepared from a recording (upstream's `prepare_conditionals` and `embed_ref`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.checkpoint import open_checkpoint
from pytorch_to_mlx.components.flow.mel import RATE, mel_spectrogram
from pytorch_to_mlx.components.s3_tokenizer import tokenize
from pytorch_to_mlx.components.voice_encoder.frontend import ChatterboxFrontEnd
from pytorch_to_mlx.components.voice_encoder.model import VoiceEncoderModel
from pytorch_to_mlx.components.whisper.mel import RATE as TOKENIZER_RATE
from pytorch_to_mlx.errors import AudioError, CheckpointError, MissingDependencyError, UsageError
from pytorch_to_mlx.models.chatterbox.config import ChatterboxConfig
from pytorch_to_mlx.models.chatterbox.network import Chatterbox
from pytorch_to_mlx.parity import tap
from pytorch_to_mlx.tasks import Voice

DECODER_SECONDS = 10.0
"""How much of a reference recording the flow continues from."""

SPEAKER, T3_PROMPT = "t3.speaker_emb", "t3.cond_prompt_speech_tokens"
PROMPT_TOKENS, PROMPT_MEL, EMBEDDING = "gen.prompt_token", "gen.prompt_feat", "gen.embedding"
SHAPES = {SPEAKER: (1, 256), T3_PROMPT: (1, -1), PROMPT_TOKENS: (1, -1), PROMPT_MEL: (1, -1, 80), EMBEDDING: (1, 192)}


@dataclass(frozen=True)
class Speaker:
    """A voice on the device.

    Attributes:
        speaker: the voice encoder's embedding (1, 256).
        t3_prompt: speech tokens that T3 hears (1, n).
        prompt_tokens, prompt_mel: what the flow continues from, (1, n) and (1, 2n, 80).
        embedding: CAM++'s embedding (1, 192).
    """

    speaker: mx.array
    t3_prompt: mx.array
    prompt_tokens: mx.array
    prompt_mel: mx.array
    embedding: mx.array

    @classmethod
    def of(cls, voice: Voice, kind: str) -> Speaker:
        """The arrays of a voice.

        Raises:
            UsageError: the voice is for another model, or damaged.
        """
        if voice.kind != kind:
            raise UsageError(
                f"this voice is for {voice.kind}, the model is {kind}; prepare it again from the recording"
            )
        for name, shape in SHAPES.items():
            found = voice.arrays.get(name)
            if (
                found is None
                or len(found.shape) != len(shape)
                or any(s not in (-1, n) for s, n in zip(shape, found.shape, strict=True))
            ):
                raise UsageError(f"the voice lacks {name} {shape}; prepare it again from the recording")
        return cls(*(mx.array(voice.arrays[name]) for name in SHAPES))


def embed_speaker(network: Chatterbox, audio: Audio) -> np.ndarray:
    """The voice encoder's embedding (256,) of a recording of any rate. Raises `AudioError` if it is too short."""
    return VoiceEncoderModel(network.ve, ChatterboxFrontEnd()).embed(audio)


def prepare(network: Chatterbox, config: ChatterboxConfig, audio: Audio) -> Voice:
    """Analyse a reference recording of any rate.

    Raises:
        AudioError: too short or silent.
        MissingDependencyError: pyloudnorm is needed and absent.
    """
    full = audio.resampled(RATE)
    tap("ref_24k", full.samples)
    if full.seconds <= config.least_prompt_seconds:
        raise AudioError(
            f"the reference lasts {full.seconds:.1f} s; this model needs more than {config.least_prompt_seconds:g} s"
        )
    if config.loudness is not None:
        full = Audio(tap("loudness", _at_loudness(full, config.loudness)), RATE)
    heard = full.resampled(TOKENIZER_RATE)
    tap("ref_16k", heard.samples)
    arrays = {
        SPEAKER: embed_speaker(network, heard)[None],
        T3_PROMPT: tokenize(
            network.s3_tokenizer,
            [heard.part(0, config.prompt_seconds).samples],
            max_tokens=config.t3.prompt_length,
        ).tokens,
        **embed_reference(network, full),
    }
    return Voice(config.voice, {name: np.array(tap(name, arrays[name])) for name in SHAPES})


def embed_reference(network: Chatterbox, full: Audio) -> dict[str, mx.array]:
    """What the flow needs of a reference at 24 kHz (`S3Token2Mel.embed_ref`)."""
    prompt = full.part(0, DECODER_SECONDS)
    mel = mel_spectrogram(mx.array(prompt.samples)[None])
    heard = tap("prompt_16k", prompt.resampled(TOKENIZER_RATE, "sinc_hann").samples)
    tokens = tokenize(network.s3_tokenizer, [heard]).tokens[:, : mel.shape[1] // 2]
    return {
        PROMPT_TOKENS: tokens,
        PROMPT_MEL: mel,
        EMBEDDING: network.s3gen.speaker_encoder.embed(heard),
    }


def _at_loudness(audio: Audio, target: float) -> np.ndarray:
    try:
        import pyloudnorm
    except ImportError as error:
        raise MissingDependencyError(
            "this model brings references to one loudness with pyloudnorm: pip install 'pytorch-to-mlx[chatterbox]'"
        ) from error
    gain = 10.0 ** ((target - pyloudnorm.Meter(audio.rate).integrated_loudness(audio.samples)) / 20)
    return audio.samples * np.float32(gain) if math.isfinite(gain) and gain > 0 else audio.samples


def convert_default_voice(kind: str, files: Mapping[str, Path]) -> bytes:
    """Upstream's `conds.pt` as a voice file.

    Raises:
        CheckpointError: it is damaged or lacks a part of a voice.
    """
    (path,) = files.values()
    with open_checkpoint(path) as tensors:
        lacking = [name for name in SHAPES if name not in tensors]
        if lacking:
            raise CheckpointError(f"{path.name} is no voice: it lacks {', '.join(lacking)}")
        arrays = {name: np.array(tensors.read(name)) for name in SHAPES}
    integers = (T3_PROMPT, PROMPT_TOKENS)
    return Voice(kind, {n: a.astype(np.int32 if n in integers else np.float32) for n, a in arrays.items()}).to_bytes()
