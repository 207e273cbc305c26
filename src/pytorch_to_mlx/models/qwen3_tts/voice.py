"""A speaker as Qwen3-TTS's base models hear one: `create_voice_clone_prompt` of inference/qwen3_tts_model.py."""

from __future__ import annotations

import unicodedata
import warnings
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.audio.passage import CLIPPED, seconds_of_speech
from pytorch_to_mlx.components.ecapa import RATE, SpeakerEncoder
from pytorch_to_mlx.components.qwen3_codec.model import Qwen3CodecModel
from pytorch_to_mlx.errors import AudioError, UsageError
from pytorch_to_mlx.parity import tap
from pytorch_to_mlx.tasks import Voice

KIND = "qwen3-tts"
EMBEDDING, CODES, TEXT = "speaker_embedding", "ref_code", "ref_text"

SILENT = 1e-3
"""Root mean square: 60 dB below the loudest there can be."""
LEAST_SPEECH = 0.7
GOOD_SECONDS, MOST_SECONDS = 20.0, 60.0
MOST_CLIPPED = 0.001
LETTERS_PER_SECOND = (11.0, 30.0)
"""Of speech without its pauses. Nine readings by seven speakers have 13 to 21, in noise that is 10 dB below 28."""
DIGIT, SYLLABLE, KANA = 4, 3, 2
"""Letters that a character counts as: what it is said as is as long."""


@dataclass(frozen=True)
class Speaker:
    """A voice.

    Attributes:
        embedding: (hidden_size,) of the talker.
        text: what the recording says; empty where only the embedding is used.
        codes: the recording's codes, (frames, codes), to go on from; None where only the embedding is used.
    """

    embedding: mx.array
    text: str = ""
    codes: np.ndarray | None = None

    @classmethod
    def of(cls, voice: Voice, width: int, codes: int, codebook_size: int) -> Speaker:
        """The arrays of a voice, for a talker of that width, and so many codes of a frame below `codebook_size`.

        Raises:
            UsageError: the voice is for another model, or damaged.
        """
        if voice.kind != KIND:
            raise UsageError(
                f"this voice is for {voice.kind}, the model is {KIND}; prepare it again from the recording"
            )
        embedding = voice.arrays.get(EMBEDDING)
        if embedding is None or embedding.shape != (width,) or not np.isfinite(embedding).all():
            raise UsageError(
                f"the voice has no embedding of {width} numbers, as this model needs; prepare it again with this one"
            )
        if CODES not in voice.arrays:
            return cls(mx.array(embedding))
        frames = voice.arrays[CODES]
        text = bytes(voice.arrays.get(TEXT, np.zeros(0)).astype(np.uint8)).decode("utf-8", "replace")
        fits = frames.ndim == 2 and frames.shape[1] == codes and len(frames) and np.issubdtype(frames.dtype, np.integer)
        if not fits or frames.min() < 0 or frames.max() >= codebook_size or not text.strip():
            raise UsageError(
                f"the voice has no frames of {codes} codes below {codebook_size} with their text; prepare it again"
            )
        return cls(mx.array(embedding), text, frames)


def prepare(encoder: SpeakerEncoder, codec: Qwen3CodecModel, audio: Audio, text: str | None) -> Voice:
    """Analyse a reference recording of any rate.

    Args:
        encoder: of the speaker.
        codec: of the recording, where its text is given.
        audio: the recording.
        text: what it says, to go on from it; None to take the speaker's embedding alone.

    Raises:
        AudioError: it is too short or too long, or silent.
        UsageError: the text is blank.
    """
    if text is not None and not (text := text.strip()):
        raise UsageError("--ref-text is blank: say what the recording says, or leave it out")
    _check(audio, text)
    heard = audio.resampled(RATE)
    embedding = encoder.embed(tap("ref_24k", heard.samples))
    arrays = {EMBEDDING: np.array(tap(EMBEDDING, embedding).astype(mx.float32))}
    if text:
        arrays[CODES] = tap(CODES, codec.tokenize(heard))
        arrays[TEXT] = np.frombuffer(text.encode(), np.uint8).astype(np.int32)
    return Voice(KIND, arrays)


def _check(audio: Audio, text: str | None) -> None:
    """Refuses what cannot serve as a reference, and warns of what serves badly."""
    level = float(np.sqrt(np.mean(np.square(audio.samples)))) if audio.samples.size else 0.0
    if level < SILENT:
        raise AudioError(f"the reference is silent ({audio.seconds:.1f} s); record it again")
    if audio.seconds > MOST_SECONDS:
        raise AudioError(f"the reference lasts {audio.seconds:.0f} s, more than {MOST_SECONDS:g} s; cut it")
    if audio.seconds > GOOD_SECONDS:
        warn(f"the reference lasts {audio.seconds:.0f} s; 3 to {GOOD_SECONDS:g} s serve as well, and faster")
    clipped = float(np.mean(np.abs(audio.samples) >= CLIPPED))
    if clipped > MOST_CLIPPED:
        warn(f"{clipped:.1%} of the reference is clipped, which the voice will have too; record it at a lower level")
    seconds = seconds_of_speech(audio.samples, audio.rate)
    if seconds < LEAST_SPEECH:
        warn(
            f"the reference has {seconds:.1f} s of speech in {audio.seconds:.1f} s; 3 to {GOOD_SECONDS:g} s serve best"
        )
    if text is None:
        return
    spoken = letters(text)
    least, most = (rate * seconds for rate in LETTERS_PER_SECOND)
    if not least <= spoken <= most:
        few = "leaves words out" if spoken < least else "has words that are not said"
        warn(
            f"the reference's text has {spoken} letters for {seconds:.1f} s of speech: it seems that it {few}, and "
            "then speech repeats or swallows words; correct it, or leave it out to take the speaker's embedding alone"
        )


def letters(text: str) -> int:
    """How many letters of a European language take as long to say as a text does."""
    return sum(_length(character) for character in text if character.isalnum())


def _length(character: str) -> int:
    if character.isdecimal():
        return DIGIT
    if "\u3040" <= character <= "\u30ff":
        return KANA
    return SYLLABLE if unicodedata.east_asian_width(character) == "W" else 1


def warn(message: str) -> None:
    """Tells whoever calls the model."""
    warnings.warn(message, stacklevel=5)
