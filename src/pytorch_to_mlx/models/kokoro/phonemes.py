"""Text to phonemes as kokoro/pipeline.py has it made: misaki, which leans on espeak-ng, spaCy's tagger for English."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Collection, Iterator
from contextlib import redirect_stdout
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import SimpleNamespace

from pytorch_to_mlx.errors import MissingDependencyError, UsageError

TAGGER = "en_core_web_sm"
"""spaCy's English model, which tells a noun from a verb: two ways to say `record`."""
ESPEAK = {"e": "es", "f": "fr-fr", "h": "hi", "i": "it", "p": "pt-br"}
CODES = {
    **{"a": "en-us", "b": "en-gb", "j": "ja", "z": "zh"},
    **ESPEAK,
}
"""Of upstream's letters, with which names of voices begin too."""
NAMES = {
    **{code: letter for letter, code in CODES.items()},
    **{"en": "a", "fr": "f", "pt": "p", "american": "a", "british": "b", "english": "a", "spanish": "e", "french": "f"},
    **{"hindi": "h", "italian": "i", "portuguese": "p", "japanese": "j", "chinese": "z", "mandarin": "z"},
}
MARKS = ("!.?…", ":;", ",—", " ")
"""Where phonemes are best cut, then next best."""

Phonemizer = Callable[[str], str]


def letter(language: str | None, voice: str) -> str:
    """Upstream's letter for a language, by name or code; that of the voice's own if None.

    Raises:
        UsageError: there is no such language.
    """
    if language is None:
        return voice[:1] if voice[:1] in CODES else "a"
    wanted = language.lower().replace("_", "-")
    known = wanted if wanted in CODES else NAMES.get(wanted)
    if known is None:
        raise UsageError(f"--language {language}: this model speaks {', '.join(sorted(CODES.values()))}")
    return known


def phonemes(text: str, language: str, *, chinese: str = "1.0") -> str:
    """Of one line of text, in the letters of misaki.

    Args:
        text: to be said.
        language: upstream's letter.
        chinese: the version of misaki's Chinese, which differs between upstream's models.

    Raises:
        MissingDependencyError: what the language needs is not installed.
    """
    return _phonemizer(language, chinese if language == "z" else "")(" ".join(text.split()))


def passes(said: str, most: int) -> Iterator[str]:
    """Phonemes in pieces of at most `most`, cut where a sentence, a clause or a word ends; none is lost but spaces."""
    said = said.strip()
    while len(said) > most:
        ends = (max(said.rfind(mark, most // 4, most) for mark in marks) for marks in MARKS)
        at = next((end for end in ends if end >= 0), most - 1) + 1
        yield said[:at].strip()
        said = said[at:].strip()
    if said:
        yield said


def unknown(said: str, vocabulary: Collection[str]) -> list[str]:
    """Phonemes that a model does not know, but for marks and spaces."""
    return sorted({each for each in said if each not in vocabulary and unicodedata.category(each)[0] not in "PZC"})


def best_english() -> bool:
    """Whether English is said as upstream does; else espeak-ng alone says it, which knows less of its words."""
    return find_spec("spacy") is not None and find_spec(TAGGER) is not None and find_spec("num2words") is not None


def front_end() -> str:
    """Whose phonemes these are: packages and versions."""
    try:
        installed = f"misaki {version('misaki')}, espeak-ng {version('espeakng-loader')}"
    except PackageNotFoundError:
        return ""
    return f"{installed}, {TAGGER}" if best_english() else installed


@cache
def _phonemizer(language: str, chinese: str) -> Phonemizer:
    with redirect_stdout(sys.stderr):  # where sound may go to the output, misaki's remarks must not
        return _made(language, chinese)


def _made(language: str, chinese: str) -> Phonemizer:
    try:
        if language in "ab":
            return _english(british=language == "b")
        if language == "j":
            return _japanese()
        if language == "z":
            from misaki import zh

            mandarin = zh.ZHG2P(version=None if chinese == "1.0" else chinese)
            return lambda text: mandarin(text)[0]
        from misaki import espeak

        other = espeak.EspeakG2P(language=ESPEAK[language])
        return lambda text: other(text)[0]
    except ImportError as error:
        extra = {"j": "kokoro-ja", "z": "kokoro-zh"}.get(language, "kokoro")
        raise MissingDependencyError(
            f"phonemes of {CODES[language]} need {error.name or 'misaki'}: pip install 'pytorch-to-mlx[{extra}]'; or "
            "give phonemes with --phonemes"
        ) from error


def _english(*, british: bool) -> Phonemizer:
    from misaki import espeak  # which tells phonemizer where espeak-ng is
    from phonemizer.backend import EspeakBackend

    fallback = espeak.EspeakFallback(british=british)
    # misaki's is for a word at a time: of whole sentences it would say the flags of other languages' words too.
    fallback.backend = EspeakBackend(
        language=f"en-{'gb' if british else 'us'}",
        preserve_punctuation=True,
        with_stress=True,
        tie="^",
        language_switch="remove-flags",
    )
    if not best_english():
        return lambda text: fallback(SimpleNamespace(text=text))[0] or ""
    from misaki import en

    tagged = en.G2P(trf=False, british=british, fallback=fallback, unk="")
    return lambda text: tagged(text)[0]


def _japanese() -> Phonemizer:
    from misaki import ja

    try:
        japanese = ja.JAG2P()
    except RuntimeError as error:
        raise MissingDependencyError(
            "Japanese needs the dictionary of unidic; fetch it with: python -m unidic download"
        ) from error
    return lambda text: japanese(text)[0]
