"""Numbers, dates, money, units and formulae in words, for models that read them badly: wetext, and what it lacks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from pytorch_to_mlx.errors import MissingDependencyError
from pytorch_to_mlx.text.formulae import COUNTED, spoken_formulae

MOST_WORDS = 60
LANGUAGES = {"en": "en", "english": "en", "zh": "zh", "chinese": "zh", "ja": "ja", "japanese": "ja"}
_KANA, _HAN = re.compile(r"[\u3040-\u30ff]"), re.compile(r"[\u4e00-\u9fff]")
_OF_ENGLISH = re.compile(r"[\x00-\x7f\u2000-\u2bff\u0370-\u03ff°µ²³¹·×÷±¼½¾£€¥“”‘’]*")
_DECADE = re.compile(r"(?<![\w.])(?:(\d\d)|['’])(\d)0s\b")
_TENS = (
    "hundreds",
    "tens",
    "twenties",
    "thirties",
    "forties",
    "fifties",
    "sixties",
    "seventies",
    "eighties",
    "nineties",
)
_VERSION = re.compile(r"(?<![\w.])v?(\d+(?:\.\d+){2,})(?![\w.]*\d)|(?<![\w.])v(\d+\.\d+)(?![\w.]*\d)")
_ALL_DAY = re.compile(r"\b(24)/(7)\b")
_COUNTED = re.compile(rf"([\d.,]+){COUNTED}")
_WITH_SIGNS = re.compile(r"\d|[%$£€¥&@#°]|\b[A-Z][a-z]{1,3}\.")


def normalise(text: str, language: str | None = None) -> str:
    """Text as it is said, in English, Chinese and Japanese; of other languages, as it stands.

    Args:
        text: one or more sentences.
        language: name or code; if None, what the script tells: Han, kana, or letters that English uses.

    Raises:
        MissingDependencyError: wetext is not installed.
    """
    known = _language(text, language)
    if known is None:
        return text
    if known == "en":
        text = _ALL_DAY.sub(r"\1 \2", _VERSION.sub(_version, _DECADE.sub(_decade, text)))
        text = _COUNTED.sub(lambda found: _in_words(found[1], known), spoken_formulae(text))
        return " ".join(_in_words(clause, known) for clause in _clauses(text))
    return _in_words(text, known)


def _clauses(text: str) -> Iterator[str]:
    """Sentences, in pieces of so many words: the grammar's time grows with the square of the length."""
    for sentence in re.split(r"(?<=[.!?;:])\s+(?=\S)", text):
        words = sentence.split(" ")
        for first in range(0, len(words), MOST_WORDS):
            yield " ".join(words[first : first + MOST_WORDS])


def _language(text: str, language: str | None) -> str | None:
    if language is not None:
        return LANGUAGES.get(language.lower().partition("-")[0])
    if _KANA.search(text):
        return "ja"
    if _HAN.search(text):
        return "zh"
    return "en" if _OF_ENGLISH.fullmatch(text) else None


def _in_words(text: str, language: str) -> str:
    """A clause as wetext has it; word by word where it stumbles over one of them."""
    if language == "en" and not _WITH_SIGNS.search(text):
        return text
    try:
        said = _normaliser(language).normalize(text)
    except AssertionError:  # an unknown sign, wherever it stands
        words = text.split()
        return " ".join(_in_words(word, language) for word in words) if len(words) > 1 else text
    return said.replace('\\"', '"') if "\\" not in text else said


@cache
def _normaliser(language: str) -> Any:
    try:
        from wetext import Normalizer
    except ImportError as error:
        raise MissingDependencyError(
            "numbers in words need wetext; install it with: pip install 'pytorch-to-mlx[narrate]', or leave them as "
            "they are with --no-normalize"
        ) from error
    return Normalizer(lang=language, operator="tn")


def _decade(found: re.Match[str]) -> str:
    century, tens = found[1], _TENS[int(found[2])]
    return f"{century} {tens}" if century else tens


def _version(found: re.Match[str]) -> str:
    return f"version {' point '.join((found[1] or found[2]).split('.'))}"
