"""Chatterbox at work: voices, synthesis, voice conversion (upstream's tts.py, tts_turbo.py, mtl_tts.py and vc.py)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.components.flow.flow import VOCABULARY
from pytorch_to_mlx.components.hift import RATE
from pytorch_to_mlx.components.perth import PerthWatermarker
from pytorch_to_mlx.components.s3_tokenizer import tokenize
from pytorch_to_mlx.components.whisper.mel import RATE as TOKENIZER_RATE
from pytorch_to_mlx.errors import AudioError, UsageError
from pytorch_to_mlx.models.chatterbox.config import ChatterboxConfig
from pytorch_to_mlx.models.chatterbox.network import Chatterbox
from pytorch_to_mlx.models.chatterbox.streaming import Streamer
from pytorch_to_mlx.models.chatterbox.t3.generation import SamplingSettings, generate
from pytorch_to_mlx.models.chatterbox.text import load_tokenizer, normalise
from pytorch_to_mlx.models.chatterbox.vocalising import Vocaliser
from pytorch_to_mlx.models.chatterbox.voice import SPEAKER, Speaker, embed_reference, embed_speaker, prepare
from pytorch_to_mlx.noise import Noise, SeededNoise, part_seed
from pytorch_to_mlx.parity import scope, tap
from pytorch_to_mlx.tasks import Voice, cosine
from pytorch_to_mlx.text import Segment, split_text

MAX_TOKENS = 1000
"""Upstream's limit of one pass: 40 s of speech."""
SILENCE_TOKEN = 4299

Progress = Callable[[int, int, int], None]
"""Called with the part of the text that is spoken, the number of parts, and the tokens that it has so far."""


class ChatterboxModel:
    """A `SpeechModel`, `VoiceConverter`, `SpeechTokenizer` and `Watermarker`."""

    sample_rate = RATE
    tokens_per_second = 25.0

    def __init__(self, network: Chatterbox, config: ChatterboxConfig, folder: Path) -> None:
        self.network = network
        self.config = config
        self.tokenizer = load_tokenizer(folder, config.text)
        self.default_voice = Voice.load(folder / "conds.safetensors") if config.default_voice else None
        self.vocaliser = Vocaliser(network.s3gen)
        self._watermarker = PerthWatermarker(network.perth)

    def prepare_voice(self, audio: Audio, text: str | None = None) -> Voice:
        """Analyse a reference recording, once for many syntheses.

        Raises:
            AudioError: too short or silent.
            UsageError: its text is given, of which this model makes no use.
        """
        if text is not None:
            raise UsageError("this model does not ask what the recording says: leave out --ref-text")
        return prepare(self.network, self.config, audio)

    def likeness(self, first: Voice | Audio, second: Voice | Audio) -> float:
        """How alike two voices are to the voice encoder, 1 for the same.

        Raises:
            AudioError: a recording is silent or too short to tell.
        """
        return cosine(
            *(embed_speaker(self.network, v) if isinstance(v, Audio) else v.arrays[SPEAKER] for v in (first, second))
        )

    def synthesize(
        self,
        text: str,
        *,
        voice: Voice | Audio | None = None,
        language: str | None = None,
        seed: int = 0,
        watermark: bool = True,
        progress: Progress | None = None,
        **settings: float | None,
    ) -> Audio:
        """Speak a text of any length, split at sentences and joined with pauses.

        Args:
            text: what to say; Turbo knows tags such as `[laugh]`.
            voice: a prepared voice or a reference recording; the default voice if the folder has one.
            language: code of the language, for the multilingual model.
            seed: another seed speaks otherwise.
            watermark: mark the audio as synthetic, as upstream does.
            progress: called as tokens come.
            settings: exaggeration, cfg_weight, temperature, top_p, min_p, top_k, repetition_penalty, max_tokens;
                upstream's defaults where not given.

        Returns:
            Speech at 24 kHz.

        Raises:
            UsageError: a setting or language that the model has not, no voice, or no text.
            AudioError: the reference recording is too short or silent.
        """
        plan = self._plan(text, voice, language, settings)
        pieces: list[np.ndarray] = []
        for index, segment in enumerate(plan.segments):
            noise = SeededNoise(part_seed(seed, index))
            tokens = self._listed(plan, index, noise, progress)
            pieces += [self.speak(tokens, plan.speaker, noise), np.zeros(round(segment.pause * RATE), np.float32)]
        return self._marked(np.concatenate(pieces[:-1]), watermark)

    def stream(
        self,
        text: str,
        *,
        voice: Voice | Audio | None = None,
        language: str | None = None,
        seed: int = 0,
        watermark: bool = True,
        **settings: float | None,
    ) -> Iterator[Audio]:
        """Speak a text piece by piece, while its tokens are still coming. Arguments as for `synthesize`.

        The tokens are those of `synthesize`; `streaming.Streamer` tells how the audio differs.
        """
        plan = self._plan(text, voice, language, settings)
        for index, segment in enumerate(plan.segments):
            noise = SeededNoise(part_seed(seed, index))
            streamer = Streamer(self.vocaliser, plan.speaker, noise)
            for token in self._spoken(plan, index, noise):
                if (piece := streamer.push(token)) is not None:
                    yield self._marked(piece, watermark)
            rest = [streamer.flush()]
            if index + 1 < len(plan.segments):
                rest.append(np.zeros(round(segment.pause * RATE), np.float32))
            yield self._marked(np.concatenate(rest), watermark)

    def convert_voice(
        self, source: Audio, *, voice: Voice | Audio | None = None, seed: int = 0, watermark: bool = True
    ) -> Audio:
        """Say what `source` says with another voice (vc.py).

        Raises:
            UsageError: no voice.
            AudioError: a recording is too short.
        """
        speaker = self._target(voice)
        tokens = self.tokenize(source)
        noise = SeededNoise(seed)
        return self._marked(self.speak(list(map(int, tokens)), speaker, noise), watermark)

    def tokenize(self, audio: Audio) -> np.ndarray:
        """The speech tokens of a recording, (n,) int32, 25 a second."""
        samples = tap("source_16k", audio.resampled(TOKENIZER_RATE).samples)
        with scope("source"):  # whose mel spectrum is another than the one that is spoken
            tokens = tokenize(self.network.s3_tokenizer, [samples]).tokens
        return np.array(tap("source_tokens", tokens))[0]

    def apply(self, audio: Audio) -> Audio:
        """The recording, marked as synthetic."""
        return self._watermarker.apply(audio)

    def detect(self, audio: Audio) -> float:
        """How sure it is that a recording is marked, from 0 to 1."""
        return self._watermarker.detect(audio)

    def speak(self, tokens: list[int], speaker: Speaker, noise: Noise) -> np.ndarray:
        """A waveform (samples,) at 24 kHz from speech tokens."""
        if not tokens:
            raise AudioError("the model found nothing to say for this text; try another seed or text")
        return np.array(tap("wav", self.vocaliser.speech(tokens, speaker, noise)))

    def tokens(
        self,
        text: str,
        speaker: Speaker,
        noise: Noise,
        *,
        language: str | None = None,
        exaggeration: float | None = None,
        settings: SamplingSettings | None = None,
        max_tokens: int = MAX_TOKENS,
    ) -> Iterator[int]:
        """Speech tokens of a text short enough for one pass, as they come; special ones are left out."""
        ids = tap("text_tokens", self.tokenizer.encode(normalise(text, self.config.text), language))
        emotion = (0.5 if exaggeration is None else exaggeration) if self.config.t3.emotion else None
        condition = self.network.t3.condition(speaker.speaker, speaker.t3_prompt, emotion)
        settings = settings or SamplingSettings.default(self.config.t3)
        for token in generate(self.network.t3, condition, ids, settings, noise, max_tokens):
            if token < VOCABULARY:
                yield token
        yield from [SILENCE_TOKEN] * self.config.trailing_silence

    def _spoken(self, plan: Plan, index: int, noise: Noise) -> Iterator[int]:
        return self.tokens(
            plan.segments[index].text,
            plan.speaker,
            noise,
            language=plan.language,
            exaggeration=plan.exaggeration,
            settings=plan.sampling,
            max_tokens=plan.max_tokens,
        )

    def _listed(self, plan: Plan, index: int, noise: Noise, progress: Progress | None) -> list[int]:
        tokens: list[int] = []
        for token in self._spoken(plan, index, noise):
            tokens.append(token)
            if progress:
                progress(index, len(plan.segments), len(tokens))
        return tokens

    def _plan(
        self, text: str, voice: Voice | Audio | None, language: str | None, settings: dict[str, float | None]
    ) -> Plan:
        given = {name: value for name, value in settings.items() if value is not None}
        for name in ("ref_text", "speaker", "instruct"):
            if name in given:
                raise UsageError(f"this model speaks with recorded voices alone: leave out --{name.replace('_', '-')}")
        exaggeration = given.pop("exaggeration", None)
        max_tokens = int(given.pop("max_tokens", MAX_TOKENS))
        if exaggeration is not None and not self.config.t3.emotion:
            raise UsageError("this model does not support --exaggeration; leave it out")
        if not 1 <= max_tokens <= MAX_TOKENS:
            raise UsageError(f"--max-tokens {max_tokens} is not within 1 to {MAX_TOKENS}")
        sampling = SamplingSettings.given(self.config.t3, given)
        self.tokenizer.check_language(language)
        segments = split_text(text, language=language)
        if not segments:
            raise UsageError("there is no text to say; give some with --text or --file")
        return Plan(segments, self._speaker(voice), language, exaggeration, sampling, max_tokens)

    def _speaker(self, voice: Voice | Audio | None) -> Speaker:
        if isinstance(voice, Audio):
            voice = self.prepare_voice(voice)
        voice = voice or self.default_voice
        if voice is None:
            raise UsageError("this folder has no default voice; give a recording (--ref-audio) or a voice (--voice)")
        return Speaker.of(voice, self.config.voice)

    def _target(self, voice: Voice | Audio | None) -> Speaker:
        """As `_speaker`, without what only T3 needs of a recording."""
        if not isinstance(voice, Audio):
            return self._speaker(voice)
        arrays = embed_reference(self.network, voice.resampled(RATE))
        unheard = mx.zeros((1, 0))
        return Speaker(unheard, unheard, *arrays.values())

    def _marked(self, samples: np.ndarray, watermark: bool) -> Audio:
        audio = Audio(samples, RATE)
        return self.apply(audio) if watermark else audio


@dataclasses.dataclass(frozen=True)
class Plan:
    """A checked request."""

    segments: list[Segment]
    speaker: Speaker
    language: str | None
    exaggeration: float | None
    sampling: SamplingSettings
    max_tokens: int
