"""Words that nobody said: improbable ones between silences (whisper/transcribe.py)."""

from __future__ import annotations

from collections.abc import Sequence

from pytorch_to_mlx.models.whisper.options import APPENDED, PREPENDED
from pytorch_to_mlx.models.whisper.phrases import Phrase
from pytorch_to_mlx.tasks import Word

LIKELY, SHORTEST, LONGEST = 0.15, 0.133, 2.0  # a probability, and seconds
WORDS = 8
"""Of a phrase, by which it is judged."""
NEAR = 2.0  # seconds from the ends of a window


def is_doubtful(phrase: Phrase | None) -> bool:
    """Whether many of the phrase's first words are improbable, or much too short or long."""
    if phrase is None or not phrase.words:
        return False
    words = [word for word in phrase.words if word.word not in PREPENDED + APPENDED][:WORDS]
    score = sum(map(_doubt, words))
    return score >= 3 or score + 0.01 >= len(words)


def first_with_words(phrases: Sequence[Phrase]) -> Phrase | None:
    """The first that has any."""
    return next((phrase for phrase in phrases if phrase.words), None)


def last_word_end(phrases: Sequence[Phrase]) -> float | None:
    """When the last word ends, else the last phrase; None if there is none."""
    for phrase in reversed(phrases):
        if phrase.words:
            return phrase.words[-1].end
    return phrases[-1].end if phrases else None


def first_invented(
    phrases: Sequence[Phrase], *, threshold: float, start: float, spoken: float, end: float, spoken_until: float
) -> int | None:
    """The first phrase that is doubtful and stands between silences, or beside another doubtful one; None if none does.

    Args:
        phrases: of a window.
        threshold: how long a silence is, in seconds.
        start, spoken, end: when the window starts, its sound ends, and 30 s end.
        spoken_until: when the last word before the window ended.
    """
    for place, phrase in enumerate(phrases):
        if not phrase.words:
            continue
        if is_doubtful(phrase):
            after = first_with_words(phrases[place + 1 :])
            goes_on = after.words[0].start if after is not None and after.words else spoken
            before_is_silent = (
                phrase.start - spoken_until > threshold or phrase.start < threshold or phrase.start - start < NEAR
            )
            after_is_silent = goes_on - phrase.end > threshold or is_doubtful(after) or end - phrase.end < NEAR
            if before_is_silent and after_is_silent:
                return place
        spoken_until = phrase.end
    return None


def _doubt(word: Word) -> float:
    length = word.end - word.start
    improbable = 1.0 if word.probability < LIKELY else 0.0
    short = (SHORTEST - length) * 15 if length < SHORTEST else 0.0
    return improbable + short + max(0.0, length - LONGEST)
