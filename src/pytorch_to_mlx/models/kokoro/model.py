"""Kokoro at work: text to phonemes, those to sound, piece by piece (kokoro/pipeline.py)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.components.hift.source import HARMONICS
from pytorch_to_mlx.errors import UsageError
from pytorch_to_mlx.models.kokoro import voices
from pytorch_to_mlx.models.kokoro.config import RATE, KokoroConfig
from pytorch_to_mlx.models.kokoro.network import Kokoro
from pytorch_to_mlx.models.kokoro.phonemes import CODES, letter, passes, phonemes, unknown
from pytorch_to_mlx.noise import Noise, SeededNoise, part_seed
from pytorch_to_mlx.parity import tap
from pytorch_to_mlx.tasks import Voice
from pytorch_to_mlx.text import split_sentences, split_text

SLOWEST, FASTEST = 0.5, 2.0
MARKS = frozenset(' ;:,.!?—…"()“”')
SETTINGS = ("speaker", "speed", "phonemes")

Progress = Callable[[int, int, int], None]
"""Called with the number of pieces that are said, of all pieces, and the frames of those."""


@dataclass(frozen=True)
class Plan:
    """A checked request: phonemes of each pass, and how to say them."""

    passes: list[str]
    styles: np.ndarray
    speed: float
    seed: int


class KokoroModel:
    """A `SpeechModel` of voices that it has."""

    sample_rate = RATE
    tokens_per_second = 40.0

    def __init__(self, network: Kokoro, config: KokoroConfig, folder: Path) -> None:
        self.network = network
        self.config = config
        self.voices = voices.read(folder / voices.FILE)

    @property
    def speakers(self) -> list[str]:
        """The voices that it has, by name; the first letter tells their language, the second f or m."""
        return list(self.voices)

    @property
    def frame(self) -> int:
        """Samples of one, of which 40 are a second."""
        return 2 * self.config.istftnet.samples

    def prepare_voice(self, audio: Audio, text: str | None = None) -> Voice:
        """Raises `UsageError`: it clones no voices."""
        raise UsageError("this model clones no voices: choose one of its own with --speaker, or a blend of some")

    def likeness(self, first: Voice | Audio, second: Voice | Audio) -> float:
        """Raises `UsageError`: it hears no voices."""
        raise UsageError("this model hears no voices; compare them with: pytorch-to-mlx similarity")

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
        """Speak a text of any length, split at sentences.

        Args:
            text: what to say.
            voice: None: it has its own.
            language: name or code; that of the voice if None.
            seed: another seed draws other noise, which is hardly heard.
            progress: called as pieces are said.
            settings: speaker, a voice by name or several blended (`af_heart:0.6+am_adam:0.4`); the first of the
                language if not given; speed, 1 is the model's own; phonemes, whether the text is phonemes.

        Returns:
            Speech at 24 kHz.

        Raises:
            UsageError: a setting that the model has not, no such voice, or no text.
            MissingDependencyError: what turns text of the language into phonemes is not installed.
        """
        plan = self._plan(text, voice, language, seed, settings)
        pieces = []
        for number, sound in enumerate(self._sounds(plan), start=1):
            pieces.append(sound)
            if progress:
                progress(number, len(plan.passes), len(sound) // self.frame)
        return Audio(np.concatenate(pieces), self.sample_rate)

    def stream(
        self,
        text: str,
        *,
        voice: Voice | Audio | None = None,
        language: str | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> Iterator[Audio]:
        """Speak a text sentence by sentence: what `synthesize` says, as it comes; the arguments are the same."""
        for sound in self._sounds(self._plan(text, voice, language, seed, settings)):
            yield Audio(sound, self.sample_rate)

    def say(self, said: str, styles: np.ndarray, speed: float, noise: Noise) -> np.ndarray:
        """One pass.

        Args:
            said: phonemes, at most as many as one pass takes; those that the model does not know are left out.
            styles: of a voice, by the number of phonemes, (lengths, 256).
            speed: 1 is the model's own.
            noise: of the source.

        Returns:
            Samples (1, n) float32.
        """
        known = [self.config.vocab[each] for each in said if each in self.config.vocab]
        style = mx.array(styles[min(len(said), len(styles)) - 1])[None]
        frames = self.network.frames(mx.array([[0, *known, 0]]), style, speed)
        drawn = noise.normal("source", 0, frames.pitch.shape[1], (self.config.istftnet.samples, HARMONICS))
        return np.array(tap("wav", self.network.sound(frames, style, drawn.reshape(1, -1, HARMONICS))))

    def _sounds(self, plan: Plan) -> Iterator[np.ndarray]:
        for number, said in enumerate(plan.passes):
            yield self.say(said, plan.styles, plan.speed, SeededNoise(part_seed(plan.seed, number)))[0]

    def _plan(
        self, text: str, voice: Voice | Audio | None, language: str | None, seed: int, settings: dict[str, Any]
    ) -> Plan:
        given = {name: value for name, value in settings.items() if value is not None}
        if voice is not None:
            raise UsageError("this model clones no voices: leave out --ref-audio and --voice, and choose a --speaker")
        if given.pop("watermark", False):
            raise UsageError("this model marks no audio: leave out --watermark")
        if other := sorted(given.keys() - set(SETTINGS)):
            has = ", ".join(f"--{name}" for name in SETTINGS)
            raise UsageError(f"this model has no --{other[0].replace('_', '-')}: leave it out; it has {has}")
        speed, speaker = given.get("speed", 1.0), given.get("speaker") or self._first_voice(language)
        if isinstance(speed, bool) or not isinstance(speed, (int, float)) or not SLOWEST <= speed <= FASTEST:
            raise UsageError(f"--speed {speed} is not within {SLOWEST:g} to {FASTEST:g}")
        if not isinstance(speaker, str):
            raise UsageError(f"--speaker {speaker!r} is no name of a voice")
        styles = voices.blended(self.voices, speaker)
        if not text.strip():
            raise UsageError("there is no text to say; give some with --text or --file")
        said = [text] if given.get("phonemes") else self._phonemes(text, self._language(language, speaker))
        self._check_known("".join(said))
        pieces = [each for part in said for each in passes(part, self.config.longest)]
        if not any(each in self.config.vocab and each not in MARKS for each in "".join(pieces)):
            raise UsageError("there is nothing to say in the text, only marks")
        return Plan(pieces, styles, float(speed), seed)

    def _first_voice(self, language: str | None) -> str:
        """`af_heart` of American English, of another language the first."""
        wanted = letter(language, "a")
        own = [name for name in self.voices if name.startswith(wanted)]
        return "af_heart" if "af_heart" in own else next(iter(own or self.voices))

    def _language(self, language: str | None, speaker: str) -> str:
        """The letter of the language that is spoken; warns of voices that have learned another."""
        spoken = letter(language, speaker)
        for part in speaker.replace(" ", "").replace(",", "+").split("+"):
            own = part[:1].casefold()
            if own in CODES and own != spoken and {own, spoken} != {"a", "b"}:
                name = part.partition(":")[0]
                warnings.warn(f"{name} is a voice of {CODES[own]}, and will speak {CODES[spoken]} as one", stacklevel=2)
        return spoken

    def _phonemes(self, text: str, language: str) -> list[str]:
        """Of each piece of a text; of a long one the first is a sentence, which is soon said."""
        code = CODES[language].partition("-")[0]
        pieces = [piece.text for piece in split_text(text, language=code)]
        if len(pieces) > 1:
            first, *rest = split_sentences(pieces[0], language=code)
            pieces = [first, *filter(None, ["".join(rest)]), *pieces[1:]]
        return [phonemes(piece, language, chinese=self.config.chinese) for piece in pieces]

    def _check_known(self, said: str) -> None:
        if lost := unknown(said, self.config.vocab):
            warnings.warn(f"phonemes that the model does not know are left out: {' '.join(lost)}", stacklevel=2)
