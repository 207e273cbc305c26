"""Transcripts of what is still being said, confirmed word by word, with how late each word is."""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.audio.arriving import Source
from pytorch_to_mlx.errors import AudioError, UsageError
from pytorch_to_mlx.service.agreement import LONGEST, LocalAgreement, Said
from pytorch_to_mlx.service.kept import Kept
from pytorch_to_mlx.service.voice_activity import FOR_TRANSCRIPTION, Detector, find_speech
from pytorch_to_mlx.tasks import Segment, Transcriber, Transcript, Word

RATE = 16000
PAUSE = 2.0
"""Seconds of silence that end a segment of a transcript."""
STEP = 1.0
"""Seconds of new sound for which all is transcribed again."""
SHORTEST_STEP, LONGEST_STEP = 0.1, LONGEST / 2

Recognise = Callable[[Audio, str], Transcript]
"""Of sound, and what was said before it: what it says, with words."""


@dataclass(frozen=True)
class Latency:
    """How long after its end a word was confirmed, in seconds.

    Attributes:
        delay: the policy's: sound that was heard after the word, before it was certain.
        waiting: sound that had arrived by then and was not heard yet, where the machine is slower than the speaker.
        computation: measured, from when the sound was taken to when the word was confirmed.
    """

    delay: float
    waiting: float
    computation: float

    @property
    def total(self) -> float:
        """What a listener waits."""
        return self.delay + self.waiting + self.computation


@dataclass(frozen=True)
class Piece:
    """Words that were confirmed at once.

    Attributes:
        said: the words.
        heard: seconds of the stream that had been heard.
        waiting, computation: as `Latency` has them.
    """

    said: tuple[Said, ...]
    heard: float
    waiting: float
    computation: float

    @property
    def start(self) -> float:
        """In seconds."""
        return self.said[0].word.start

    @property
    def end(self) -> float:
        """In seconds."""
        return self.said[-1].word.end

    @property
    def text(self) -> str:
        """With the space before it."""
        return "".join(said.word.word for said in self.said)

    @property
    def latencies(self) -> list[Latency]:
        """Of each word."""
        return [Latency(self.heard - said.word.end, self.waiting, self.computation) for said in self.said]


class Recogniser:
    """A transcriber as `stream` asks it: it hears where somebody speaks, and is told what was said before.

    Attributes:
        language: that was asked for; else, as soon as some sound is done with, the one that was heard in it.
    """

    def __init__(
        self,
        model: Transcriber,
        *,
        detector: Detector | None = None,
        language: str | None = None,
        initial_prompt: str | None = None,
        condition_on_previous_text: bool = True,
        **settings: Any,
    ) -> None:
        """Of a model that gives words.

        Args:
            model: which is told `settings`, and `initial_prompt`, after which comes what was said before.
            detector: only what it takes for speech is transcribed.
            language: name or code; None to hear it.
            condition_on_previous_text: whether the model is told what was said before.
        """
        self._model, self._detector = model, detector
        self._settings = settings | {"word_timestamps": True, "condition_on_previous_text": condition_on_previous_text}
        self.language, self._heard = language, ""
        self._initial, self._conditioned = initial_prompt, condition_on_previous_text

    @property
    def spoken(self) -> str:
        """The language of the transcript."""
        return self._heard or self.language or ""

    def __call__(self, audio: Audio, said: str) -> Transcript:
        if said and self.language is None:
            self.language = self._heard
        if self._detector is None:
            return self._transcribed(audio, said)
        spans = find_speech(self._detector, audio, FOR_TRANSCRIPTION)
        if not spans:
            return Transcript("", self.spoken, ())
        kept = Kept(spans)
        return kept.restore(self._transcribed(kept.join(audio), said))

    def _transcribed(self, audio: Audio, said: str) -> Transcript:
        told = [part.strip() for part in (self._initial or "", said if self._conditioned else "") if part.strip()]
        prompt = {"initial_prompt": " ".join(told)} if told else {}
        found = self._model.transcribe(audio, language=self.language, **prompt, **self._settings)
        self._heard = found.language
        return found


def check_step(step: float) -> None:
    """Refuse steps that leave no time to compute, or no sound to agree on.

    Raises:
        UsageError: it is one.
    """
    if not SHORTEST_STEP <= step <= LONGEST_STEP:
        raise UsageError(f"--step {step:g}: give {SHORTEST_STEP:g} to {LONGEST_STEP:g} seconds")


def stream(
    recognise: Recognise, source: Source, *, step: float = STEP, clock: Callable[[], float] = time.perf_counter
) -> Iterator[Piece]:
    """What a source says, as soon as it is certain.

    The sound since the last cut, `LONGEST` seconds at most, is transcribed whenever `step` seconds more have arrived,
    and then with all that has arrived: where transcribing takes longer than that, steps are left out, and no sound.

    Args:
        recognise: transcribes sound at 16 kHz.
        source: of sound at 16 kHz.
        step: seconds.
        clock: tells seconds.

    Raises:
        UsageError: `step` is too short or too long.
        AudioError: no sound arrives at all; or it cannot be read on, and all before was heard.
    """
    check_step(step)
    policy, least = LocalAgreement(step), math.ceil(step * RATE)
    buffer, taken = np.empty(0, np.float32), 0
    ended = False
    while not ended:
        new = source.read(least, max(least, round(LONGEST * RATE) - buffer.size))
        began, ended = clock(), new.size < least
        buffer, taken = np.concatenate([buffer, new]), taken + new.size
        heard, waiting = taken / RATE, (source.arrived - taken) / RATE
        confirmed: list[Said] = []
        if new.size:  # at the end nothing may be left to hear
            begins = (taken - buffer.size) / RATE
            confirmed = policy.hear(_phrases(recognise(Audio(buffer, RATE), policy.said), begins), heard)
        if ended:
            confirmed += policy.finish(heard)
        if confirmed:
            yield Piece(tuple(confirmed), heard, waiting, clock() - began)
        buffer = buffer[buffer.size - max(0, taken - round(policy.start * RATE)) :].copy()
    source.read(1, 1)  # raises what ended the sound, if that was an error
    if not taken:
        raise AudioError("no sound arrived")


def _phrases(transcript: Transcript, begins: float) -> list[list[Word]]:
    """Words with the times of the whole stream."""
    return [
        [
            replace(word, start=round(begins + word.start, 3), end=round(begins + word.end, 3))
            for word in phrase.words or ()
        ]
        for phrase in transcript.segments
    ]


def as_transcript(said: Iterable[Said], language: str) -> Transcript:
    """Confirmed words as a transcript, a segment for each sentence or phrase, without the model's own figures."""
    segments: list[Segment] = []
    words: list[Word] = []
    texts: list[str] = []

    def close() -> None:
        text = "".join(word.word for word in words)
        segments.append(
            Segment(words[0].start, words[-1].end, text, seek=round(100 * words[0].start), words=tuple(words))
        )
        texts.append(text)
        words.clear()

    for each in said:
        if words and each.word.start - words[-1].end > PAUSE:
            close()
        words.append(each.word)
        if each.closes:
            close()
    if words:
        close()
    return Transcript("".join(texts), language, tuple(segments))


class Latencies:
    """Those of all words: their mean, and what nine of ten do not exceed. It keeps three numbers, 24 bytes, a word."""

    PARTS = ("delay", "waiting", "computation")

    def __init__(self) -> None:
        self._parts = {part: array("d") for part in self.PARTS}

    def add(self, latencies: Iterable[Latency]) -> None:
        """Count words."""
        for latency in latencies:
            for part, numbers in self._parts.items():
                numbers.append(getattr(latency, part))

    @property
    def words(self) -> int:
        """How many there are."""
        return len(self._parts["delay"])

    def figures(self) -> dict[str, dict[str, float]]:
        """For `total` and each part, `mean` and `p90` in seconds; empty without words."""
        if not self.words:
            return {}
        parts = {part: np.array(numbers) for part, numbers in self._parts.items()}
        parts = {"total": np.sum([*parts.values()], axis=0)} | parts
        return {part: {"mean": _rounded(np.mean(n)), "p90": _rounded(_p90(n))} for part, n in parts.items()}


def _p90(numbers: np.ndarray) -> float:
    """The least of the numbers that 90 % do not exceed."""
    return np.sort(numbers)[math.ceil(0.9 * numbers.size) - 1]


def _rounded(seconds: float | np.floating) -> float:
    return round(float(seconds), 3)
