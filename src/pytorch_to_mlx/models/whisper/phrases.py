"""What a window says as phrases with times, and their words (whisper/transcribe.py and timing.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from pytorch_to_mlx.models.whisper.alignment import Timing
from pytorch_to_mlx.models.whisper.decoding import Decoded
from pytorch_to_mlx.tasks import Segment, Word

SENTENCE_ENDS = ".。!！?？"
LONGEST_MEDIAN = 0.7  # seconds
FRAMES_PER_SECOND = 100


@dataclass
class Phrase:
    """A segment while it is worked on; times in seconds.

    Attributes:
        words: None where they are not asked for.
    """

    start: float
    end: float
    text: str
    tokens: list[int]
    words: list[Word] | None = field(default=None)

    @property
    def empty(self) -> bool:
        """Whether it says nothing, or takes no time."""
        return self.start == self.end or not self.text.strip()

    def segment(self, decoded: Decoded, seek: int) -> Segment:
        """As it is given out; an empty one keeps its times only."""
        nothing = self.empty
        words = () if nothing else None if self.words is None else tuple(self.words)
        return Segment(
            self.start,
            self.end,
            "" if nothing else self.text,
            () if nothing else tuple(self.tokens),
            seek,
            decoded.temperature,
            decoded.avg_logprob,
            decoded.compression_ratio,
            decoded.no_speech_prob,
            words,
        )


@dataclass(frozen=True)
class Window:
    """Where a window lies: frames of the spectrum, 100 a second, and the seconds that they are."""

    seek: int
    frames: int

    @property
    def start(self) -> float:
        """In seconds."""
        return self.seek / FRAMES_PER_SECOND

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.frames / FRAMES_PER_SECOND


def split(
    tokens: Sequence[int], window: Window, first_time: int, precision: float
) -> tuple[list[tuple[float, float, list[int]]], int, bool]:
    """Phrases between times: their starts, ends and tokens.

    Args:
        tokens: of the window, times included.
        window: where it lies.
        first_time: the token of time 0.
        precision: seconds between times.

    Returns:
        the phrases, how many frames of the window they take up, and whether the last time stands alone: then nobody
        speaks after it.
    """
    is_time = [token >= first_time for token in tokens]
    alone = is_time[-2:] == [False, True]
    cuts = [i for i in range(1, len(tokens)) if is_time[i - 1] and is_time[i]]
    seconds = [(token - first_time) * precision for token in tokens]
    if cuts:
        cuts += [len(tokens)] if alone else []
        pieces = zip([0, *cuts], cuts, strict=False)
        found = [(window.start + seconds[a], window.start + seconds[b - 1], list(tokens[a:b])) for a, b in pieces]
        used = window.frames if alone else round(seconds[cuts[-1] - 1] * FRAMES_PER_SECOND)
        return found, used, alone
    times = [second for second, time in zip(seconds, is_time, strict=True) if time]
    length = times[-1] if times and times[-1] else window.seconds
    return [(window.start, window.start + length, list(tokens))], window.frames, alone


def place_words(
    phrases: Sequence[Phrase],
    timings: Sequence[Timing],
    usual: tuple[float, float],
    text_end: int,
    offset: float,
    spoken_until: float,
) -> None:
    """Give phrases their words, and times by them; words after pauses are not drawn out.

    Args:
        phrases: of one window.
        timings: of their words, from the window's start, punctuation merged.
        usual: how long words take, and how long at most.
        text_end: the first token that is no text.
        offset: when the window starts.
        spoken_until: when the last word before it ended.
    """
    left = iter(timings)
    for phrase in phrases:
        room = sum(token < text_end for token in phrase.tokens)
        words: list[Word] = []
        while room > 0 and (timing := next(left, None)) is not None:
            if timing.word:
                start, end = round(offset + timing.start, 2), round(offset + timing.end, 2)
                words.append(Word(timing.word, start, end, timing.probability))
            room -= len(timing.tokens)
        if words:
            _bound(phrase, words, usual, spoken_until)
            spoken_until = phrase.end
        phrase.words = words


def usual_lengths(timings: Sequence[Timing]) -> tuple[float, float]:
    """How long words take, and how long at most, in seconds; 0 if none takes any time."""
    lengths = [timing.end - timing.start for timing in timings if timing.end != timing.start]
    middle = min(LONGEST_MEDIAN, float(np.median(lengths))) if lengths else 0.0
    return middle, 2 * middle


def shorten_at_sentences(timings: Sequence[Timing], longest: float) -> None:
    """Cut words short that take longer where a sentence ends, in place."""
    if not longest:
        return
    for before, timing in pairwise(timings):
        if timing.end - timing.start > longest:
            if timing.word in SENTENCE_ENDS:
                timing.end = timing.start + longest
            elif before.word in SENTENCE_ENDS:
                timing.start = timing.end - longest


def _bound(phrase: Phrase, words: list[Word], usual: tuple[float, float], spoken_until: float) -> None:
    """Shorten what is too long at the phrase's ends, and fit its times."""
    middle, longest = usual
    starts, ends = [word.start for word in words], [word.end for word in words]
    after_pause = ends[0] - spoken_until > middle * 4
    two_long = len(words) > 1 and ends[1] - starts[0] > longest * 2
    if after_pause and (ends[0] - starts[0] > longest or two_long):
        if len(words) > 1 and ends[1] - starts[1] > longest:
            ends[0] = starts[1] = max(ends[1] / 2, ends[1] - longest)
        starts[0] = max(0, ends[0] - longest)
    if phrase.start < ends[0] and phrase.start - 0.5 > starts[0]:
        starts[0] = max(0, min(ends[0] - middle, phrase.start))
    else:
        phrase.start = starts[0]
    if phrase.end > starts[-1] and phrase.end + 0.5 < ends[-1]:
        ends[-1] = max(starts[-1] + middle, phrase.end)
    else:
        phrase.end = ends[-1]
    words[:] = [
        Word(word.word, start, end, word.probability) for word, start, end in zip(words, starts, ends, strict=True)
    ]
