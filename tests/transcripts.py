"""Transcripts for tests of their files: some that hold what is hard to write, and any number drawn by chance."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from random import Random
from typing import Any

from pytorch_to_mlx.tasks import Segment, Transcript, Word

PIECES = (
    " the", " house", ",", " a", " very-long-compound-word-that-no-line-holds", " -->", " ¿Qué", " 春眠不覚暁", "。",
    " naïve", " 🙂", "\tx", "  two", "\n", "a\nb", " c\n", "", " <i>", " \u00a0", "'s",
)  # fmt: skip
OPTIONS: list[dict[str, Any]] = [
    {"highlight_words": highlight, "max_line_width": width, "max_line_count": count, "max_words_per_line": words}
    for highlight, width, count, words in product((False, True), (None, 1, 16, 42), (None, 1, 2), (None, 1, 3))
]


def segment(number: int, start: float, end: float, text: str, words: Sequence[dict] | None = None) -> dict:
    """As whisper.transcribe has it."""
    numbers = {"temperature": 0.2, "avg_logprob": -0.25 - number / 3, "compression_ratio": 1.5, "no_speech_prob": 1e-12}
    tokens = [50364, 220 + number, 50464] if text else []
    head = {"id": number, "seek": 3000 * number, "start": start, "end": end, "text": text, "tokens": tokens}
    return head | numbers | ({} if words is None else {"words": list(words)})


def spoken(start: float, words: Sequence[str], pauses: Sequence[float] = ()) -> list[dict]:
    """Words of a quarter of a second each, after pauses where there are some."""
    found = []
    for place, word in enumerate(words):
        start += pauses[place] if place < len(pauses) else 0.0
        found.append({"word": word, "start": round(start, 2), "end": round(start + 0.25, 2), "probability": 0.875})
        start += 0.25
    return found


def result(segments: Sequence[dict], language: str = "en") -> dict:
    return {"text": "".join(each["text"] for each in segments), "segments": list(segments), "language": language}


def timed(number: int, words: Sequence[dict]) -> dict:
    """A segment of words."""
    return segment(number, words[0]["start"], words[-1]["end"], "".join(word["word"] for word in words), words)


RICH = {
    "nothing": result([]),
    "plain": result(
        [
            segment(0, 0.0, 4.0, " Señor, naïve 春眠不覚暁 🙂"),
            segment(1, 4.0, 4.0, ""),
            segment(2, 59.9994, 59.9996, " An arrow --> within, and ---->."),
            segment(3, 3599.9996, 3725.0005, "  a\ttab, and\n a line break  "),
            segment(4, 360000.5, 360001.25, ' "quotes" \\ <b>&amp;</b>'),
        ],
        "es",
    ),
    "empty among plain": result([segment(0, 0.0, 2.0, " Hello."), segment(1, 2.0, 2.0, "", [])]),
    "words": result(
        [
            timed(0, spoken(0.0, [" And", " so", ",", " my", " fellow", " Americans", ","], [0.32])),
            segment(1, 2.5, 2.5, "", []),
            timed(2, spoken(6.0, [" ask", " not", " what", " your", " country", " can", " do"], [0, 0, 0, 4.5, 0, 1])),
            timed(3, spoken(3598.0, [" -->", " ¿Qué", "?", " 春眠", "不覚暁", "。", "\ta\tb", " c\nd"], [0, 3, 3.01])),
            timed(4, spoken(3725.0, [" ", " antidisestablishmentarianism", " e\n"])),
        ]
    ),
    "nothing said": result([segment(0, 0.0, 0.0, "", []), segment(1, 1.0, 1.0, "", [])]),
}  # fmt: skip


def drawn(seed: int) -> dict:
    """A result of few segments, half of the time with words."""
    chance = Random(seed)
    with_words, now, segments = chance.random() < 0.8, chance.choice([0.0, 0.004, 3590.0]), []
    for number in range(chance.randint(1, 6)):
        words = []
        for _ in range(chance.choice([0, 1, 3, 12])):
            now += chance.choice([0.0, 0.0, 0.1, 2.99, 3.0, 3.5])
            end = now + chance.choice([0.0, 0.0004, 0.3, 0.7])
            words.append({"word": chance.choice(PIECES), "start": now, "end": end, "probability": chance.random()})
            now = chance.choice([now, end])
        text = "".join(word["word"] for word in words)
        ends = (words[0]["start"], words[-1]["end"]) if words else (now, now)
        segments.append(segment(number, *ends, text, words if with_words else None))
    return result(segments, chance.choice(["en", "ja"]))


def transcript(result: dict) -> Transcript:
    """Ours of upstream's result."""
    segments = []
    for each in result["segments"]:
        words = tuple(Word(**word) for word in each["words"]) if "words" in each else None
        fields = {name: value for name, value in each.items() if name not in ("id", "words")}
        segments.append(Segment(**{**fields, "tokens": tuple(fields["tokens"])}, words=words))
    return Transcript(result["text"], result["language"], tuple(segments))
