"""Qwen3-TTS at work: voices, synthesis, streams and batches (upstream's inference/qwen3_tts_model.py)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import mlx.core as mx
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
from pytorch_to_mlx.tasks import Utterance, Voice, cosine
from pytorch_to_mlx.text import LIMIT, Segment, split_text

MAX_TOKENS = 2048
"""Of one pass: 164 s of speech. Upstream's limit is the same, unless generation_config.json tells another."""
LONG = 1200
"""Letters of one piece where each would have a voice of its own: 80 s or so."""
AT_ONCE = 4
"""Parts of a long text, or utterances: weights that are read for one serve all."""
FIRST_CHUNK, CHUNK = 4, 12
"""Frames that a stream gives out at once: a third of a second, then a second."""

Progress = Callable[[int, int, int], None]
"""Called with the number of parts of the text that are said, of all parts, and the frames of those that are spoken."""


@dataclasses.dataclass(frozen=True)
class Part:
    """A piece of a text that is said in one pass, the number that it has, and the seed of its noise."""

    segment: Segment
    request: Request
    number: int
    seed: int

    @property
    def name(self) -> str:
        """For messages."""
        return f'part {self.number + 1} ("{" ".join(self.segment.text.split()[:6])}")'


@dataclasses.dataclass(frozen=True)
class Plan:
    """A checked request."""

    parts: Sequence[Part]
    sampling: SamplingSettings
    max_tokens: int


class Qwen3TTSModel:
    """A `BatchSpeechModel` and `SpeechTokenizer`."""

    tokens_per_second = FRAMES_PER_SECOND
    at_once = AT_ONCE

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

    def likeness(self, first: Voice | Audio, second: Voice | Audio) -> float:
        """How alike two voices are to the speaker encoder, 1 for the same.

        Raises:
            AudioError: a recording is too short to tell.
            UsageError: the model clones no voices.
        """
        return cosine(self._embedding(first), self._embedding(second))

    def _embedding(self, voice: Voice | Audio) -> np.ndarray:
        if isinstance(voice, Voice):
            return voice.arrays[EMBEDDING]
        if self.config.speaker_encoder is None:
            raise UsageError("this model hears no voices; convert Qwen/Qwen3-TTS-12Hz-0.6B-Base")
        return np.array(
            self.network.speaker_encoder.embed(voice.resampled(self.sample_rate).samples).astype(mx.float32)
        )

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
        return self._sounds([self._plan(text, voice, language, seed, settings)], progress)[0]

    def synthesize_all(
        self, utterances: Sequence[Utterance], *, progress: Progress | None = None, **settings: Any
    ) -> list[Audio]:
        """Speak several texts at once, each as `synthesize` has it alone but for rounding.

        Args:
            utterances: each with its own voice, language and seed.
            progress, settings: as for `synthesize`, of all.

        Raises:
            UsageError, AudioError: as `synthesize`, for any of them.
        """
        plans = []
        for each in utterances:
            named = {} if each.speaker is None else {"speaker": each.speaker}
            plans.append(self._plan(each.text, each.voice, each.language, each.seed, settings | named))
        return self._sounds(plans, progress)

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
        plan = self._plan(text, voice, language, seed, settings)
        for part in plan.parts:
            session = self._session(part.request)
            waiting: list[np.ndarray] = []
            chunk = FIRST_CHUNK
            for _, frame in self._spoken([part], plan):
                waiting.append(frame)
                if len(waiting) == chunk:
                    yield session.push(np.stack(waiting))
                    waiting, chunk = [], CHUNK
            rest = [session.push(np.stack(waiting)).samples] if waiting else []
            if part is not plan.parts[-1]:
                rest.append(self._pause(part.segment))
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

    def _plan(
        self, text: str, voice: Voice | Audio | None, language: str | None, seed: int, settings: dict[str, Any]
    ) -> Plan:
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
        parts = [
            Part(each, self.request(each.text, voice=known, language=language, **told), number, part_seed(seed, number))
            for number, each in enumerate(segments)
        ]
        return Plan(parts, sampling, max_tokens)

    def _sounds(self, plans: Sequence[Plan], progress: Progress | None) -> list[Audio]:
        """Of each plan; their parts are said some at once, in an order in which alike ones end together."""
        parts = sorted((part for plan in plans for part in plan.parts), key=lambda part: len(part.request.text))
        said: dict[int, list[np.ndarray]] = {id(part): [] for part in parts}
        for first in range(0, len(parts), AT_ONCE):
            for count, (part, frame) in enumerate(self._spoken(parts[first : first + AT_ONCE], plans[0]), start=1):
                said[id(part)].append(frame)
                if progress:
                    progress(first, len(parts), count)
        sounds = []
        for plan in plans:
            pieces: list[np.ndarray] = []
            for part in plan.parts:
                pieces += [self.speak(said[id(part)], part.request), self._pause(part.segment)]
            sounds.append(Audio(np.concatenate(pieces[:-1]), self.sample_rate))
        return sounds

    def _spoken(self, parts: Sequence[Part], plan: Plan) -> Iterator[tuple[Part, np.ndarray]]:
        """Frames (codes,) of some parts at once, each with its part, as they come; sampled as `plan` says."""
        noises = [SeededNoise(part.seed) for part in parts]
        open_parts = {id(part): Guard(self.tokenizer.length(part.request.text)) for part in parts}
        requests = [part.request for part in parts]
        for frames in self.frames(requests, plan.sampling, noises, plan.max_tokens):
            for part, frame in zip(parts, frames, strict=True):
                if id(part) not in open_parts:
                    continue
                if frame[0] == ENDED:
                    del open_parts[id(part)]
                    continue
                yield part, frame
                if reason := open_parts[id(part)].push(frame):
                    warn(f"{part.name} {reason}, and was ended there; try another seed")
                    del open_parts[id(part)]
            if not open_parts:
                return
        for part in parts:
            if id(part) in open_parts:
                warn(f"{part.name} does not end within --max-tokens {plan.max_tokens}, and was cut off there")

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
