"""Numbers, dates, money, units and formulae in words, for models that read them badly: wetext, and what it lacks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any

from pytorch_to_mlx.errors import MissingDependencyError
from pytorch_to_mlx.text.equations import COUNTED
from pytorch_to_mlx.text.figures import spoken_commas, spoken_figures
from pytorch_to_mlx.text.formulae import put_back, set_aside, spoken_formulae

MOST_WORDS = 60
MOST_LETTERS = 400
LANGUAGES = {"en": "en", "english": "en", "zh": "zh", "chinese": "zh", "ja": "ja", "japanese": "ja"}
_KANA, _HAN = re.compile(r"[\u3040-\u30ff]"), re.compile(r"[\u4e00-\u9fff]")
_WORD = re.compile(r"[^\W\d_]+")
_ENGLISH = """
and are at be been but by can could did does for from had has have her him his if is it its my of or our out she should
than that the their them then there these they this those to was we were what when where which who will with would you
your
"""
_FOREIGN = """
au aux avec ce cette ces chez dans des du elle est et il ils je la le les mais nous ont pas pour que qui ses sont sur
tout très un une vous ça à
aber auch auf aus bei bin bis das dem der des ein eine einen einer er es für hat ich ihr im ist kein keine mit nach
nicht noch nur oder sein sich sie sind um und uns vom von war wenn wie wir wird zu zum zur über
como con de del el ella en está este estoy ha hay la las lo los más muy para pero por que se si sin sobre su sus tiene y
che ci da dal dei della delle di gli il nel nella non per più questa questo si sono tra una uno è
não os uma em ao na een het niet zijn
"""
"""Frequent words of French, German, Spanish, Italian, and Portuguese or Dutch."""
# Whose words are of no language, though the sine is Spanish.
_FORMULA = re.compile(r"\$[^$]{1,400}\$|\\[A-Za-z]{1,40}|\bsin(?=\(|[²³]| [xyt\dα-ω]\b)")
_ENGLISH_WORDS, _FOREIGN_WORDS = frozenset(_ENGLISH.split()), frozenset(_FOREIGN.split())
_COUNTED = re.compile(rf"(?<![\d.,])((?:\d{{1,40}}{COUNTED}? )?[\d.,][\d.,/]{{0,400}}(?:st|nd|rd|th)?){COUNTED}")
_WITH_SIGNS = re.compile(r"\d|[%$£€¥&@#°]|\b[A-Z][a-z]{1,3}\.")


def normalise(text: str, language: str | None = None) -> str:
    """Text as it is said, in English, Chinese and Japanese; of other languages, as it stands.

    Args:
        text: one or more sentences.
        language: name or code (`en`, `en_US`); if None or `auto`, what script and words tell.

    Raises:
        MissingDependencyError: wetext is not installed.
    """
    known = _language(text, language)
    if known is None:
        return text
    if known == "en":
        text, kept = set_aside(text.replace(COUNTED, ""))
        text = put_back(spoken_commas(spoken_formulae(spoken_figures(text))), kept)
        text = _COUNTED.sub(lambda found: _number(found[1].replace(COUNTED, "")), text)
        return " ".join(_in_words(clause, known) for clause in _clauses(text))
    return "".join(_in_words(clause, known) for clause in _clauses_without_blanks(text))


def _clauses(text: str) -> Iterator[str]:
    """Sentences, in pieces of so many words and letters: the grammar's time grows with the square of the length."""
    for sentence in re.split(r"(?<=[.!?;:])\s+(?=\S)", text):
        piece: list[str] = []
        letters = 0
        for word in sentence.split(" "):
            letters += len(word) + 1
            if piece and (len(piece) == MOST_WORDS or letters > MOST_LETTERS):
                yield " ".join(piece)
                piece, letters = [], len(word) + 1
            piece.append(word)
        yield " ".join(piece)


def _clauses_without_blanks(text: str) -> Iterator[str]:
    """Chinese or Japanese text, in pieces if it is long."""
    if len(text) <= MOST_LETTERS:
        yield text
        return
    for sentence in re.split(r"(?<=[。！？；，、\n])", text):
        for first in range(0, len(sentence), MOST_LETTERS):
            yield sentence[first : first + MOST_LETTERS]


def _language(text: str, language: str | None) -> str | None:
    if language is not None and language.lower() != "auto":
        return LANGUAGES.get(re.split("[-_]", language.lower())[0])
    if _KANA.search(text):
        return "ja"
    if _HAN.search(text):
        return "zh"
    return "en" if _is_english(text) else None


def _is_english(text: str) -> bool:
    """Whether English words outnumber those of its neighbours, or neither are there; and few letters have accents."""
    words = _WORD.findall(_FORMULA.sub(" ", text))
    letters = sum(map(len, words))
    long = [word for word in words if len(word) > 1]  # alone, letters are of a formula, Greek ones too
    others = sum(letter.isalpha() and not letter.isascii() for word in long for letter in word)
    counted = [word.lower() for word in long]
    english, foreign = sum(word in _ENGLISH_WORDS for word in counted), sum(word in _FOREIGN_WORDS for word in counted)
    return others * 5 <= letters if english > foreign else english == foreign == 0 and others * 10 <= letters


def _in_words(text: str, language: str) -> str:
    """A clause as wetext has it; word by word where it stumbles over one of them."""
    if (language == "en" and not _WITH_SIGNS.search(text)) or len(text) > MOST_LETTERS:  # one endless word: nonsense
        return text
    try:
        said = _normaliser(language).normalize(text)
    except AssertionError:  # an unknown sign, wherever it stands
        words = text.split()
        return " ".join(_in_words(word, language) for word in words) if len(words) > 1 else text
    return said.replace('\\"', '"') if "\\" not in text else said


@lru_cache(maxsize=4096)
def _number(text: str) -> str:
    """A number of an English formula."""
    return _in_words(text, "en")


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
