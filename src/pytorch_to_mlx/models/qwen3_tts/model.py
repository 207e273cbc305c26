"""Qwen3-TTS at work: voices, synthesis, streams and batches (upstream's inference/qwen3_tts_model.py)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.components.qwen3_codec.model import DecodingSession, Qwen3CodecModel
from pytorch_to_mlx.errors import UsageError
from pytorch_to_mlx.models.qwen3_tts.config import Qwen3TTSConfig
from pytorch_to_mlx.models.qwen3_tts.generation import ENDED, generate
from pytorch_to_mlx.models.qwen3_tts.guard import FRAMES_PER_SECOND, Guard
from pytorch_to_mlx.models.qwen3_tts.network import Qwen3TTS
from pytorch_to_mlx.models.qwen3_tts.prompt import Request, language_token, prompt
from pytorch_to_mlx.models.qwen3_tts.sampling import SamplingSettings
from pytorch_to_mlx.models.qwen3_tts.text import TextTokenizer, language_code, language_name
from pytorch_to_mlx.models.qwen3_tts.voice import EMBEDDING, Speaker, prepare, warn
from pytorch_to_mlx.noise import Noise, SeededNoise, part_seed
from pytorch_to_mlx.parity import tap
from pytorch_to_mlx.tasks import Voice, cosine
from pytorch_to_mlx.text import LIMIT, Segment, split_text

MAX_TOKENS = 2048
"""Of one pass: 164 s of speech. Upstream's limit is the same, unless generation_config.json tells another."""
LONG = 1200
"""Letters of one piece where each would have a voice of its own: 80 s or so."""
PARTS_AT_ONCE = 4
"""Of a long text: weights that are read for one serve all."""
FIRST_CHUNK, CHUNK = 4, 12
"""Frames that a stream gives out at once: a third of a second, then a second."""

Progress = Callable[[int, int, int], None]
"""Called with the number of parts of the text that are said, of all parts, and the frames of those that are spoken."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """A checked request: a segment each of `segments` and `requests`, the others of all."""

    segments: Sequence[Segment]
    requests: Sequence[Request]
    sampling: SamplingSettings
    max_tokens: int


class Qwen3TTSModel:
    """A `SpeechModel` and `SpeechTokenizer`."""

    tokens_per_second = FRAMES_PER_SECOND

    def __init__(self, network: Qwen3TTS, config: Qwen3TTSConfig, folder: Path) -> None:
        self.network = network
        self.config = config
        self.tokenizer = TextTokenizer(folder, config.talker.text_vocabulary)
        self.codec = Qwen3CodecModel(network.codec)
        self._heard: tuple[np.ndarray, DecodingSession] | None = None

    @property
    def sample_rate(self) -> int:
        """Of the speech."""
        return self.codec.sample_rate

    @property
    def speakers(self) -> list[str]:
        """The voices that a custom-voice model has, by name."""
        return sorted(self.config.talker.speakers)

    @property
    def languages(self) -> list[str]:
        """What it speaks, by name."""
        return sorted(name for name in self.config.talker.languages if "dialect" not in name)

    def tokenize(self, audio: Audio) -> np.ndarray:
        """The codes of a recording, (frames, 16) int32, 12.5 frames a second."""
        return self.codec.tokenize(audio)

    def prepare_voice(self, audio: Audio, text: str | None = None) -> Voice:
        """Analyse a reference recording, once for many syntheses.

        Args:
            audio: of any rate; 3 to 10 s serve best.
            text: what it says: speech then goes on from the recording. None takes the speaker's embedding alone.

        Raises:
            AudioError: too short, too long or silent.
            UsageError: the model does not clone voices.
        """
        if self.config.speaker_encoder is None:
            raise UsageError("this model clones no voices; convert Qwen/Qwen3-TTS-12Hz-0.6B-Base")
        return prepare(self.network.speaker_encoder, self.codec, audio, text)

    def likeness(self, first: Voice, second: Voice) -> float:
        """How alike two voices are to the speaker encoder, 1 for the same."""
        return cosine(first.arrays[EMBEDDING], second.arrays[EMBEDDING])

    def synthesize(
        self,
        text: str,
        *,
        voice: Voice | Audio | None = None,
        language: str | None = None,
        seed: int = 0,
        progress: Progress | None = None,
        **settings: Any,
    ) -> Audio:
        """Speak a text of any length, split at sentences and joined with pauses.

        Args:
            text: what to say.
            voice: of base models, a prepared voice or a recording.
            language: name or code of the language; the model's own guess if None.
            seed: another seed speaks otherwise.
            progress: called as frames come.
            settings: ref_text, what a recording says (base models); speaker, the name of a voice (custom-voice
                models); instruct, how to say it (models of 1.7 B parameters); streamed_text, whether text is given
                token by token (upstream's default for base models); max_tokens; and those of `SamplingSettings`.

        Returns:
            Speech at 24 kHz.

        Raises:
            UsageError: a setting that the model has not, no voice, or no text.
            AudioError: the reference recording cannot serve.
        """
        plan = self._plan(text, voice, language, settings)
        said: list[list[np.ndarray]] = [[] for _ in plan.segments]
        order = sorted(range(len(said)), key=lambda index: len(plan.requests[index].text))  # alike ones end together
        for first in range(0, len(order), PARTS_AT_ONCE):
            together = order[first : first + PARTS_AT_ONCE]
            for count, (index, frame) in enumerate(self._spoken(plan, together, seed), start=1):
                said[index].append(frame)
                if progress:
                    progress(first, len(order), count)
        pieces: list[np.ndarray] = []
        for frames, request, segment in zip(said, plan.requests, plan.segments, strict=True):
            pieces += [self.speak(frames, request), self._pause(segment)]
        return Audio(np.concatenate(pieces[:-1]), self.sample_rate)

    def stream(
        self,
        text: str,
        *,
        voice: Voice | Audio | None = None,
        language: str | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> Iterator[Audio]:
        """Speak a text piece by piece, as `synthesize` has it but for rounding; the arguments are the same."""
        plan = self._plan(text, voice, language, settings)
        for index, segment in enumerate(plan.segments):
            session = self._session(plan.requests[index])
            waiting: list[np.ndarray] = []
            chunk = FIRST_CHUNK
            for _, frame in self._spoken(plan, [index], seed):
                waiting.append(frame)
                if len(waiting) == chunk:
                    yield session.push(np.stack(waiting))
                    waiting, chunk = [], CHUNK
            rest = [session.push(np.stack(waiting)).samples] if waiting else []
            if index + 1 < len(plan.segments):
                rest.append(self._pause(segment))
            if rest:
                yield Audio(np.concatenate(rest), self.sample_rate)

    def speak(self, frames: Sequence[np.ndarray], request: Request) -> np.ndarray:
        """The sound (samples,) of the frames (codes,) of one utterance, up to its end, after that of the reference."""
        said = [frame for frame in frames if frame[0] != ENDED]
        return tap("wav", self._session(request).push(np.stack(said)).samples)

    def frames(
        self,
        requests: Sequence[Request],
        sampling: SamplingSettings,
        noises: Sequence[Noise],
        max_tokens: int = MAX_TOKENS,
    ) -> Iterator[np.ndarray]:
        """Frames (requests, codes) of several utterances at once, as they come; -1 after an utterance's end."""
        prompts = [prompt(self.network.talker, each) for each in requests]
        return generate(self.network.talker, prompts, sampling, noises, max_tokens)

    def request(
        self,
        text: str,
        *,
        voice: Voice | None = None,
        language: str | None = None,
        speaker: str | None = None,
        instruct: str | None = None,
        streamed_text: bool | None = None,
    ) -> Request:
        """A text short enough for one pass, with all that the talker is told.

        Raises:
            UsageError: a setting that the model has not, or no text.
        """
        talker = self.network.talker
        spoken = self._check(voice is not None, language, speaker, instruct)
        heard = None
        who = talker.config.speakers[speaker.lower()] if speaker else None
        if voice is not None:
            config = talker.config
            held = Speaker.of(voice, config.backbone.hidden_size, config.codes, config.codebook_size)
            who = held.embedding
            heard = (self.tokenizer.heard(held.text), held.codes) if held.codes is not None else None
        return Request(
            self.tokenizer.said(text),
            language=spoken,
            speaker=who,
            instruction=self.tokenizer.instruction(instruct),
            reference=heard,
            streamed=self.config.kind == "base" if streamed_text is None else streamed_text,
        )

    def _check(self, cloned: bool, language: str | None, speaker: str | None, instruct: str | None) -> int | None:
        """Each kind of model is told by other means who speaks. Returns the token of the language."""
        kind, name = self.config.kind, speaker.lower() if speaker else None
        if kind == "base" and not cloned:
            raise UsageError(
                "this model speaks with cloned voices: give a recording (--ref-audio) or a voice (--voice)"
            )
        if kind != "base" and cloned:
            raise UsageError("this model clones no voices: leave out --ref-audio and --voice")
        if kind == "custom_voice" and name not in self.config.talker.speakers:
            asked = f"--speaker {speaker} is none of the model's" if speaker else "--speaker is missing"
            raise UsageError(f"{asked}; it has {', '.join(self.speakers)}")
        if kind != "custom_voice" and speaker is not None:
            raise UsageError("this model has no voices by name: leave out --speaker")
        if kind == "voice_design" and not instruct:
            raise UsageError('describe the voice: --instruct "a calm, deep voice"')
        if instruct and (kind == "base" or self.config.size == "0b6"):
            raise UsageError("this model follows no instructions: leave out --instruct")
        return language_token(self.config.talker, language_name(language), name)

    def _plan(self, text: str, voice: Voice | Audio | None, language: str | None, settings: dict[str, Any]) -> Plan:
        given = {name: value for name, value in settings.items() if value is not None}
        if given.pop("watermark", False):
            raise UsageError("this model marks no audio: leave out --watermark")
        ref_text = given.pop("ref_text", None)
        if ref_text is not None and not isinstance(voice, Audio):
            raise UsageError("--ref-text says what a recording says: give --ref-audio too")
        max_tokens = int(given.pop("max_tokens", MAX_TOKENS))
        if not 1 <= max_tokens <= MAX_TOKENS:
            raise UsageError(f"--max-tokens {max_tokens} is not within 1 to {MAX_TOKENS}")
        told = {name: given.pop(name) for name in ("speaker", "instruct", "streamed_text") if name in given}
        sampling = self.config.sampling.changed(given)
        limit = LONG if self.config.kind == "voice_design" else LIMIT
        segments = split_text(text, language=language_code(language), limit=limit)
        if not segments:
            raise UsageError("there is no text to say; give some with --text or --file")
        if self.config.kind == "voice_design" and len(segments) > 1:
            warn(f"the text is said in {len(segments)} parts, each of which may sound like somebody else")
        self._check(voice is not None, language, told.get("speaker"), told.get("instruct"))  # before any work
        known = self.prepare_voice(voice, ref_text) if isinstance(voice, Audio) else voice
        requests = [self.request(each.text, voice=known, language=language, **told) for each in segments]
        return Plan(segments, requests, sampling, max_tokens)

    def _spoken(self, plan: Plan, indices: Sequence[int], seed: int) -> Iterator[tuple[int, np.ndarray]]:
        """Frames (codes,) of some parts of a text at once, each with the part's index, as they come."""
        requests = [plan.requests[index] for index in indices]
        noises = [SeededNoise(part_seed(seed, index)) for index in indices]
        open_parts = {index: Guard(len(plan.requests[index].text)) for index in indices}
        for frames in self.frames(requests, plan.sampling, noises, plan.max_tokens):
            for index, frame in zip(indices, frames, strict=True):
                if index not in open_parts:
                    continue
                if frame[0] == ENDED:
                    del open_parts[index]
                    continue
                yield index, frame
                if reason := open_parts[index].push(frame):
                    warn(f"part {index + 1} of {len(plan.segments)} {reason}, and was ended there; try another seed")
                    del open_parts[index]
            if not open_parts:
                return

    def _session(self, request: Request) -> DecodingSession:
        """Where the sound of a request begins: behind that of its reference, which is decoded once for many."""
        if request.reference is None:
            return self.codec.session()
        codes = request.reference[1]
        if self._heard is None or self._heard[0] is not codes:
            session = self.codec.session()
            session.push(codes)
            self._heard = (codes, session)
        return copy(self._heard[1])

    def _pause(self, segment: Segment) -> np.ndarray:
        return np.zeros(round(segment.pause * self.sample_rate), np.float32)
