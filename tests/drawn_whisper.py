"""What Whisper might write of a recording, and when, drawn by chance: for upstream's loop and for ours.

Neither torch nor MLX is needed. What is drawn depends on the seed and on what is asked for: who asks otherwise is told
otherwise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

EOT, FIRST_TIME = 200, 1000
CONTEXT = 64
"""Tokens of a text, prompt included: so few that prompts are cut."""
MARKS = (".", ",", "?", "。", "!", " “", " (", "'", '"', "-", " -", ")", " ", "?？", "”")
ENDINGS = ("ing", "'s", "ly", "oh ")
"""Of words whose first token stands before."""
PAUSES = (0.0, 0.3, 0.6, 1.5, 1.98, 2.0, 2.4, 4.0, 9.0, 20.0, 27.0)
USUAL = (0.1, 0.2, 0.24, 0.3, 0.36, 0.5, 0.66, 0.7)
ODD = (0.0, 0.02, 0.06, 0.07, 0.1, 0.12, 0.13, 0.14, 0.3, 0.3, 0.5, 0.76, 1.0, 1.5, 2.04, 2.2, 2.98, 3.0, 4.5)
LIKELIHOODS = (0.05, 0.1, 0.14, 0.149, 0.15, 0.151, 0.17, 0.5)
LAST_WINDOW = 40
"""After which windows are left quickly, so that each recording ends."""
TOGETHER = 10
"""Results behind a hash."""
Spoken = tuple[str, list[int], float, float, float]
"""A word, its tokens, start, end and probability."""


class Words:
    """As far as loops need them, both tokenizers."""

    eot, timestamp_begin = EOT, FIRST_TIME

    def encode(self, text: str) -> list[int]:
        """One token of each letter."""
        return [ord(letter) % EOT for letter in text]

    def decode(self, tokens: Sequence[int]) -> str:
        """Times left out."""
        return "".join(piece(token) for token in tokens if token < EOT)


@dataclass(frozen=True)
class Said:
    """Of a window, under upstream's names."""

    tokens: list[int]
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    temperature: float


@dataclass(frozen=True)
class Case:
    """A recording and how it is heard; `options` are whisper.transcribe's."""

    seed: int
    frames: int
    options: dict[str, Any]


def piece(token: int) -> str:
    """The text of a token."""
    if token < len(MARKS):
        return MARKS[token]
    return ENDINGS[token // 5 % len(ENDINGS)] if token % 5 == 0 else f" w{token}"


def case(seed: int) -> Case:
    """Half of them skip silences, one in five tells no words."""
    chance = Random(f"case-{seed}")
    frames = chance.choice([90, 2400, 3000, 4500, 7000, 9001])
    options: dict[str, Any] = {
        "temperature": chance.choice([(0.0,), (0.0, 0.4), (0.2, 0.6, 0.8)]),
        "compression_ratio_threshold": chance.choice([None, 2.4, 2.4]),
        "logprob_threshold": chance.choice([None, -1.0, -1.0]),
        "no_speech_threshold": chance.choice([None, 0.6, 0.6]),
        "condition_on_previous_text": chance.random() < 0.7,
        "initial_prompt": chance.choice([None, None, "  some names "]),
        "carry_initial_prompt": chance.random() < 0.4,
        "word_timestamps": chance.random() < 0.8,
        "best_of": chance.choice([None, 3]),
        "beam_size": chance.choice([None, 2]),
    }
    if options["beam_size"]:
        options["patience"] = chance.choice([None, 1.5])
    if options["word_timestamps"]:
        options["hallucination_silence_threshold"] = chance.choice([None, 0.5, 1.0, 2.0, 2.0, 3.0])
        if chance.random() < 0.2:
            options |= {"prepend_punctuations": "(", "append_punctuations": ".)"}
    if chance.random() < 0.3:
        marks = sorted(chance.sample(range(frames), chance.choice([1, 2, 3])))
        options["clip_timestamps"] = tuple(mark / 100 for mark in marks)
    return Case(seed, frames, options)


def said(seed: int, place: int, temperature: float) -> Said:
    """What the decoding with this number says."""
    chance = Random(f"said-{seed}-{place}-{temperature}")
    return Said(
        [0, FIRST_TIME + 100] if place > LAST_WINDOW else _tokens(chance),
        chance.choice([-0.2, -0.2, -0.9, -1.0, -1.1]),
        chance.choice([0.01, 0.01, 0.6, 0.7]),
        chance.choice([1.2, 1.2, 2.4, 2.5]),
        temperature,
    )


def _tokens(chance: Random) -> list[int]:
    ending = chance.choice(["alone", "alone", "open", "open", "closed", "timeless", "last", "start", "nothing"])
    if ending == "nothing":
        return []
    now = chance.choice([0, 0, 30, 120])
    tokens = []
    for _ in range(chance.choice([0, 1, 2, 2, 3])):
        later = max(1, now + chance.choice([0, 20, 50, 150, 400]))  # at 0, upstream hears the window forever
        tokens += [FIRST_TIME + now, *_text(chance), FIRST_TIME + later]
        now = later + chance.choice([1, 1, 30, 130])
    last = [FIRST_TIME + now, *_text(chance), 20, FIRST_TIME + now + chance.choice([3, 40, 200])]
    ended = {"alone": last, "open": last[:-1], "closed": [*last, last[-1] + 1]}
    if ending in ended:
        return tokens + ended[ending]
    return {"timeless": last[1:-1], "last": last, "start": [FIRST_TIME, *last[1:-1]]}[ending]


def _text(chance: Random) -> list[int]:
    count = chance.choice([0, 1, 1, 2, 3, 5, 8, 14])
    marks, words = range(len(MARKS)), range(len(MARKS), EOT)
    return [chance.choice(marks if chance.random() < 0.25 else words) for _ in range(count)]


def alignment(seed: int, tokens: Sequence[int], frames: int) -> list[Spoken]:
    """When the words of a text are said, in a window of so many frames: mostly plainly and oddly in turn."""
    chance, parts = Random(f"words-{seed}-{list(tokens)}-{frames}"), _parts(tokens)
    manner = chance.choice((*["in turn"] * 16, "at once", "slowly", "three doubtful"))
    odd, found = chance.random() < 0.5, []
    now = 0.0 if manner in ("at once", "slowly") else chance.choice(PAUSES)
    for place, part in enumerate(parts):
        odd ^= chance.random() < 0.15
        length, probability = _spoken(chance, odd) if manner == "in turn" else _special(chance, manner, place)
        now += chance.choice(PAUSES) if manner == "in turn" and chance.random() < 0.15 else 0.0
        end = min(round(now + length, 2), frames / 100)
        found.append((Words().decode(part), part, min(now, end), end, probability))
        now = end
    return found


def _spoken(chance: Random, odd: bool) -> tuple[float, float]:
    """How long a word takes, and its probability."""
    return (chance.choice(ODD), chance.choice(LIKELIHOODS)) if odd else (chance.choice(USUAL), 0.9)


def _special(chance: Random, manner: str, place: int) -> tuple[float, float]:
    """The same where bounds are seldom reached by chance: no time, first words below the median, a doubt of just 3."""
    if manner == "at once":
        return 0.0, 0.5
    if manner == "slowly":
        return 0.6 if place == 0 else chance.choice((0.76, 1.0, 1.5)), 0.9
    return 0.3, 0.1 if place < 3 else 0.9


def _parts(tokens: Sequence[int]) -> list[list[int]]:
    parts: list[list[int]] = []
    for token in tokens:
        if parts and token >= len(MARKS) and not piece(token).startswith(" "):
            parts[-1].append(token)
        else:
            parts.append([token])
    return parts


@dataclass(frozen=True)
class Timed:
    """Phrases (start, end, tokens) of a window that begins at `seek`, and when the last word before it ended."""

    seed: int
    seek: int
    frames: int
    phrases: list[tuple[float, float, list[int]]]
    spoken_until: float

    @property
    def alignment(self) -> list[Spoken]:
        """Of all words."""
        return alignment(self.seed, [token for *_, tokens in self.phrases for token in tokens], self.frames)


def timed(seed: int) -> Timed:
    """Their times have as little to do with their words' as times of a bad model."""
    chance = Random(f"timed-{seed}")
    seek = chance.choice([0, 0, 40, 3000, 123456])
    now, phrases = seek / 100, []
    for _ in range(chance.choice([1, 1, 2, 4])):
        now += chance.choice([0.0, 0.3, 0.52, 1.5, 5.0])
        end = now + chance.choice([0.0, 0.4, 2.0, 8.0])
        phrases.append((now, end, _text(chance)))
        now = end
    spoken_until = seek / 100 - chance.choice([0.0, 0.2, 1.0, 3.0, 30.0])  # below 0, so that all bounds are reached
    return Timed(seed, seek, chance.choice([500, 3000]), phrases, spoken_until)


def digests(made: Callable[[int], Any], count: int) -> list[str]:
    """A hash of what JSON has of so many seeds' results, for every ten of them."""
    return [_digest([made(seed) for seed in range(first, first + TOGETHER)]) for first in range(0, count, TOGETHER)]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]
