"""Streams: that no word is lost or said twice, and how late each is."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import pairwise

import mlx.core as mx
import numpy as np
import pytest
from phrases import phrase

from pytorch_to_mlx import Audio
from pytorch_to_mlx.errors import AudioError, UsageError
from pytorch_to_mlx.service.agreement import LONGEST, Said
from pytorch_to_mlx.service.streaming import RATE, Latencies, Latency, Piece, Recogniser, as_transcript, stream
from pytorch_to_mlx.tasks import Segment, Transcript, Word

LETTERS = "abcdefghijklmnopqrstuvwxyz"


# Whole streams, of a recogniser that knows what is said and is wrong as recognisers are


class Numbered:
    """A source whose samples tell their place."""

    def __init__(self, seconds: float, ahead: Callable[[], float] | None = None) -> None:
        self.count, self.taken, self._ahead = round(seconds * RATE), 0, ahead

    @property
    def arrived(self) -> int:
        return self.taken if self._ahead is None else max(self.taken, min(self.count, round(self._ahead() * RATE)))

    def read(self, least: int, most: int) -> np.ndarray:
        size = min(most, max(least, self.arrived - self.taken), self.count - self.taken)
        self.taken += size
        return np.arange(self.taken - size, self.taken).astype(np.float32)


class Knowing:
    """Writes down a script, with times that jitter and ends of sound misheard."""

    def __init__(self, script: Sequence[Word], seed: int = 0, jitter: float = 0.0, wrong: float = 0.0) -> None:
        self.script, self.draw, self.jitter, self.wrong = script, random.Random(seed), jitter, wrong
        self.lengths: list[float] = []
        self.told: list[str] = []

    def __call__(self, audio: Audio, said: str) -> Transcript:
        begin = float(audio.samples[0]) / RATE
        assert audio.samples[-1] == audio.samples[0] + audio.samples.size - 1  # no sound is left out within
        self.lengths.append(audio.seconds)
        self.told.append(said)
        words = []
        for word in self.script:
            if begin - 0.1 <= word.start and word.end <= begin + audio.seconds + 0.1:
                start, end = (
                    max(0.0, t - begin + self.draw.uniform(-1, 1) * self.jitter) for t in (word.start, word.end)
                )
                words.append(Word(word.word, start, max(start, end), 1.0))
        for place in range(max(0, len(words) - 3), len(words)):
            if self.draw.random() < self.wrong:
                words[place] = Word(f" {self.draw.choice(LETTERS)}", words[place].start, words[place].end, 0.1)
        return Transcript("", "en", (Segment(0.0, audio.seconds, "", words=tuple(words)),))


def script(seed: int, seconds: float, sentences: bool, pauses: float = 0.0) -> list[Word]:
    draw, now, words = random.Random(seed), 0.3, []
    while now < seconds - 1:
        length = draw.uniform(0.25, 0.6)
        name = "".join(draw.choices(LETTERS[:4], k=draw.randint(1, 4)))
        ends = sentences and draw.random() < 0.15
        words.append(Word(f" {name}{'.' if ends else ''}", now, now + length, 1.0))
        now += length + (draw.uniform(0.2, 0.5) if ends else 0.02)
        now += draw.uniform(1, 40) if draw.random() < pauses else 0
    return words


@pytest.mark.parametrize("sentences", [True, False])
@pytest.mark.parametrize("step", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_lost_and_nothing_said_twice(seed: int, step: float, sentences: bool) -> None:
    wanted = script(seed, 150.0, sentences, pauses=0.01)
    knowing = Knowing(wanted, seed, jitter=0.04, wrong=0.0)
    pieces = list(stream(knowing, Numbered(150.0), step=step))
    words = [said.word for piece in pieces for said in piece.said]
    assert "".join(word.word for word in words) == "".join(word.word for word in wanted)
    assert all(a.end <= b.start <= b.end for a, b in pairwise(words))
    assert max(max(abs(a.start - b.start), abs(a.end - b.end)) for a, b in zip(words, wanted, strict=True)) < 0.2
    assert max(knowing.lengths) <= LONGEST and knowing.told[0] == "" and knowing.told[-1]


@pytest.mark.parametrize("seed", range(10))
def test_what_is_misheard_at_first_is_mostly_right_at_last(seed: int) -> None:
    wanted = script(seed, 120.0, sentences=True)
    pieces = list(stream(Knowing(wanted, seed, jitter=0.04, wrong=0.4), Numbered(120.0), step=1.0))
    words = [said.word.word for piece in pieces for said in piece.said]
    right = [word.word for word in wanted]
    assert len(words) == len(right)
    assert sum(a != b for a, b in zip(words[:-3], right[:-3], strict=True)) <= len(right) // 25


def test_hours_take_as_much_memory_as_minutes() -> None:
    class Long(Numbered):
        """Which does not count in float32."""

        def read(self, least: int, most: int) -> np.ndarray:
            return np.zeros_like(super().read(least, most))

    lengths = []

    def silent(audio: Audio, said: str) -> Transcript:
        lengths.append(audio.seconds)
        return Transcript("", "", ())

    assert list(stream(silent, Long(3 * 3600), step=15.0)) == []
    assert max(lengths) <= LONGEST and len(lengths) == 720


# Latency


def test_latency_is_right_to_the_number() -> None:
    now = 100.0

    def recognise(audio: Audio, said: str) -> Transcript:
        nonlocal now
        now += 0.25
        words = tuple(word for word in phrase("one two three") if word.end <= audio.seconds)
        return Transcript("", "en", (Segment(0, 0, "", words=words),))

    pieces = list(stream(recognise, Numbered(3.5), step=1.0, clock=lambda: now))
    assert [(piece.text, piece.heard) for piece in pieces] == [(" one two", 2.0), (" three", 3.0)]
    assert pieces[0].latencies == [Latency(1.5, 0.0, 0.25), Latency(1.0, 0.0, 0.25)]
    assert pieces[1].latencies == [Latency(1.5, 0.0, 0.25)]
    latencies = Latencies()
    for piece in pieces:
        latencies.add(piece.latencies)
    assert latencies.words == 3
    assert latencies.figures() == {
        "total": {"mean": 1.583, "p90": 1.75},
        "delay": {"mean": 1.333, "p90": 1.5},
        "waiting": {"mean": 0.0, "p90": 0.0},
        "computation": {"mean": 0.25, "p90": 0.25},
    }


def test_nine_of_ten_words_are_no_later() -> None:
    latencies = Latencies()
    assert latencies.figures() == {}
    latencies.add(Latency(float(second), 0, 0) for second in (10, 1, 2, 3, 4, 5, 6, 7, 8, 9))
    assert latencies.figures()["delay"] == {"mean": 5.5, "p90": 9.0}


def test_slow_computation_leaves_steps_out_and_loses_nothing() -> None:
    now = 0.0
    wanted = script(3, 60.0, sentences=True)
    knowing = Knowing(wanted)

    def slow(audio: Audio, said: str) -> Transcript:
        nonlocal now
        now += 3.5
        return knowing(audio, said)

    class Speaking(Numbered):
        """In real time."""

        def read(self, least: int, most: int) -> np.ndarray:
            nonlocal now
            now = max(now, min(self.count, self.taken + least) / RATE)
            return super().read(least, most)

    pieces = list(stream(slow, Speaking(60.0, lambda: now), step=1.0, clock=lambda: now))
    assert "".join(piece.text for piece in pieces) == "".join(word.word for word in wanted)
    assert len(knowing.lengths) <= 60 / 3.5 + 2
    assert {piece.computation for piece in pieces} <= {3.5, 0.0} and not any(piece.waiting for piece in pieces)


def test_what_waits_unheard_is_counted() -> None:
    wanted = phrase("so much was said before anybody listened to it", 0.0, 10.0)
    pieces = list(stream(Knowing(wanted), Numbered(90.0, lambda: 90.0), step=1.0, clock=lambda: 0.0))
    assert "".join(piece.text for piece in pieces) == "".join(word.word for word in wanted)
    assert pieces[0].waiting == 90.0 - pieces[0].heard > 0
    assert pieces[0].latencies[0].total == 90.0 - pieces[0].said[0].word.end


@pytest.mark.parametrize("step", [0.0, 0.05, 15.5, -1.0, float("nan")])
def test_steps_that_cannot_be(step: float) -> None:
    with pytest.raises(UsageError, match=r"give 0\.1 to 15 seconds"):
        list(stream(Knowing([]), Numbered(3.0), step=step))


def test_what_was_said_before_an_error_is_told_before_it() -> None:
    class Breaking(Numbered):
        def read(self, least: int, most: int) -> np.ndarray:
            if self.taken == self.count:
                raise AudioError("broken")
            return super().read(least, most)

    wanted = phrase("one two three four five")
    pieces = stream(Knowing(wanted), Breaking(2.5), step=1.0)
    assert [piece.text for piece in (next(pieces), next(pieces))] == [" one two", " three four five"]
    with pytest.raises(AudioError, match="broken"):
        next(pieces)


def test_a_stream_without_sound() -> None:
    with pytest.raises(AudioError, match="no sound arrived"):
        list(stream(Knowing([]), Numbered(0.0)))


# The recogniser


class Model:
    """Says where it was asked, and remembers how."""

    def __init__(self, *languages: str) -> None:
        self.languages, self.asked = list(languages), []

    def known_language(self, language: str) -> str | None:
        return language

    def transcribe(self, audio: Audio, *, language: str | None = None, **settings: object) -> Transcript:
        self.asked.append({"seconds": audio.seconds, "language": language} | settings)
        words = (Word(" a", 0.1, 0.2, 1.0), Word(" b", audio.seconds - 0.2, audio.seconds - 0.1, 1.0))
        return Transcript(" a b", language or self.languages.pop(0), (Segment(0.1, 0.2, " a b", words=words),))


def test_the_model_is_told_what_was_said_and_words_are_asked_for() -> None:
    model, sound = Model("en"), Audio(np.ones(RATE, np.float32), RATE)
    recogniser = Recogniser(model, language="de", initial_prompt=" Names. ", beam_size=5)
    recogniser(sound, "")
    recogniser(sound, " Ja, gut.")
    assert [asked["initial_prompt"] for asked in model.asked] == ["Names.", "Names. Ja, gut."]
    assert all(asked["word_timestamps"] and asked["beam_size"] == 5 for asked in model.asked)
    Recogniser(model, language="de", condition_on_previous_text=False)(sound, " Ja.")
    assert "initial_prompt" not in model.asked[-1]


def test_the_language_is_heard_until_some_sound_is_done_with() -> None:
    model, sound = Model("cy", "en", "nl"), Audio(np.ones(RATE, np.float32), RATE)
    recogniser = Recogniser(model)
    for said in ("", "", " Well.", " Well. Yes."):
        recogniser(sound, said)
    assert [asked["language"] for asked in model.asked] == [None, None, "en", "en"] and recogniser.spoken == "en"


def test_a_detector_keeps_the_model_from_silence() -> None:
    def detector(frames: mx.array, h: mx.array, c: mx.array) -> tuple[mx.array, mx.array, mx.array]:
        return mx.max(mx.abs(frames), axis=1), h, c

    model = Model("en")
    recogniser = Recogniser(model, detector=detector)
    assert recogniser(Audio(np.zeros(5 * RATE, np.float32), RATE), "").segments == () and not model.asked
    sound = np.zeros(20 * RATE, np.float32)
    sound[10 * RATE : 12 * RATE] = 1
    (segment,) = recogniser(Audio(sound, RATE), "").segments
    assert model.asked[0]["seconds"] == pytest.approx(2.8, abs=0.05)
    assert [word.start for word in segment.words or ()] == pytest.approx([9.7, 12.2], abs=0.05)


# Transcripts


def test_segments_end_with_sentences_phrases_and_pauses() -> None:
    said = [Said(Word(f" {name}", start, start + 0.5, 1.0), closes) for name, start, closes in [
        ("One", 0.0, False), ("two.", 1.0, True), ("three", 2.0, False), ("four", 9.0, False),
    ]]  # fmt: skip
    found = as_transcript(said, "en")
    assert [(s.text, s.start, s.end) for s in found.segments] == [
        (" One two.", 0.0, 1.5),
        (" three", 2.0, 2.5),
        (" four", 9.0, 9.5),
    ]
    assert found.text == " One two. three four" and found.segments[0].words == (said[0].word, said[1].word)
    assert as_transcript([], "en") == Transcript("", "en", ())


def test_a_piece_lasts_from_its_first_word_to_its_last() -> None:
    piece = Piece((Said(Word(" a", 1.0, 1.5, 1.0)), Said(Word(" b", 1.6, 2.0, 1.0))), 3.0, 0.5, 0.25)
    assert (piece.start, piece.end, piece.text) == (1.0, 2.0, " a b")
    assert [latency.total for latency in piece.latencies] == [2.25, 1.75]
