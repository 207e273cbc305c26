"""Phrases, words and silences of drawn windows: openai-whisper's (goldens from `tests/record_whisper_goldens.py`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import mlx.core as mx
import pytest
from drawn_whisper import CONTEXT, EOT, FIRST_TIME, TOGETHER, Case, Said, Words, alignment, case, digests, said, timed

from pytorch_to_mlx.models.whisper import transcription
from pytorch_to_mlx.models.whisper.alignment import Timing, merge
from pytorch_to_mlx.models.whisper.decoding import Decoded, WindowDecoder
from pytorch_to_mlx.models.whisper.options import APPENDED, PREPENDED, Options
from pytorch_to_mlx.models.whisper.phrases import Phrase, place_words, shorten_at_sentences, usual_lengths
from pytorch_to_mlx.models.whisper.spectrogram import Spectrogram
from pytorch_to_mlx.models.whisper.transcription import Transcription
from pytorch_to_mlx.noise import SeededNoise
from pytorch_to_mlx.tasks import Segment, Transcript, Word

GOLDEN = json.loads((Path(__file__).parent / "goldens" / "whisper_words.json").read_text(encoding="utf-8"))
NOTHING = mx.zeros((1, 1))
Made = Callable[[int], list[Any]]


def stub_decoder() -> WindowDecoder:
    """A network that sees nothing."""
    config = SimpleNamespace(n_text_ctx=CONTEXT, n_vocab=2501)
    stub = SimpleNamespace(
        vocabulary=Words(), config=config, seconds_per_position=0.02, states=lambda mel: mx.zeros((1, 1, 1))
    )
    return cast(WindowDecoder, stub)


def heard(
    drawn: Case, options: Options, speak: Callable[[int, int, float], Said] = said
) -> tuple[list[Any], Transcript]:
    """What is asked of the model, and the transcript."""
    spectrogram = cast(Spectrogram, SimpleNamespace(frames=drawn.frames, window=lambda seek, frames: NOTHING))
    work = Transcription(stub_decoder(), spectrogram, "en", options, SeededNoise(0)).run()
    asked: list[Any] = []
    try:
        request = next(work)
        while True:
            own = request.options
            prompt = [*request.previous]
            asked.append([request.temperature, own.beam_size, own.patience, own.best_of, prompt])
            drawn_now = vars(speak(drawn.seed, len(asked), request.temperature))
            request = work.send(Decoded(text="", **drawn_now))
    except StopIteration as end:
        return asked, end.value


def transcripts(seed: int) -> list[Any]:
    drawn = case(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transcription, "align", lambda decoder, states, tokens, frames, *_: timings(seed, tokens, frames))
        asked, found = heard(drawn, Options(**drawn.options))
    return [asked, found.text, [row(segment) for segment in found.segments]]


def words(seed: int) -> list[Any]:
    drawn = timed(seed)
    found = [Timing(*each) for each in drawn.alignment]
    usual = usual_lengths(found)
    shorten_at_sentences(found, usual[1])
    merge(found, PREPENDED, APPENDED)
    phrases = [Phrase(start, end, "", tokens) for start, end, tokens in drawn.phrases]
    place_words(phrases, found, usual, EOT, drawn.seek / 100, drawn.spoken_until)
    return [[float(phrase.start), float(phrase.end), listed(phrase.words)] for phrase in phrases]


def merged(seed: int) -> list[Any]:
    found = [Timing(*each) for each in timed(seed).alignment]
    merge(found, PREPENDED, APPENDED)
    return [[each.word, each.tokens] for each in found]


MADE: dict[str, Made] = {"transcripts": transcripts, "words": words, "merged": merged}


def timings(seed: int, tokens: Sequence[int], frames: int) -> list[Timing]:
    return [Timing(*each) for each in alignment(seed, tokens, frames)]


def row(segment: Segment) -> list[Any]:
    numbers = [segment.avg_logprob, segment.compression_ratio, segment.no_speech_prob]
    times = [segment.seek, float(segment.start), float(segment.end)]
    return [*times, segment.text, [*segment.tokens], segment.temperature, *numbers, listed(segment.words)]


def listed(words: Sequence[Word] | None) -> list[Any] | None:
    if words is None:
        return None
    return [[word.word, float(word.start), float(word.end), word.probability] for word in words]


@pytest.mark.parametrize("name", MADE)
def test_what_is_shown_is_upstreams(name: str) -> None:
    for seed, expected in enumerate(GOLDEN[name]["shown"]):
        assert json.loads(json.dumps(MADE[name](seed))) == expected, seed


@pytest.mark.parametrize("name", MADE)
def test_what_is_drawn_is_upstreams(name: str) -> None:
    expected = GOLDEN[name]["drawn"]
    found = digests(MADE[name], TOGETHER * len(expected))
    wrong = [place * TOGETHER for place, pair in enumerate(zip(found, expected, strict=True)) if len({*pair}) > 1]
    assert not wrong, "from these seeds on"
    assert len(set(expected)) == len(expected) >= 50


def test_a_window_whose_text_takes_no_time_is_heard_once() -> None:
    """Rules of decoding forbid it; upstream would not go on."""
    stuck = [FIRST_TIME, 20, FIRST_TIME, FIRST_TIME]
    asked, found = heard(Case(0, 4500, {}), Options(), lambda *_: Said(stuck, -0.2, 0.01, 1.2, 0.0))
    assert len(asked) == 2 and [segment.seek for segment in found.segments] == [0, 3000]
