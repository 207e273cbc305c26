"""What the multilingual model does to text before its tokenizer: chatterbox/models/tokenizers/tokenizer.py.

Some languages have a package that reads them as the training data was read. Upstream goes on without one; so do we,
with one warning, except where hardly anything could be spoken then.
"""

from __future__ import annotations

import json
import unicodedata
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from pytorch_to_mlx.errors import FolderError, MissingDependencyError

CANGJIE = "Cangjie5_TC.json"


class Cangjie:
    """Chinese characters spelt by the keys that type them, such as `[cj_o][cj_n][cj_f][cj_.]`.

    Attributes:
        codes: each character's code; characters of one code are told apart by their number.
    """

    def __init__(self, path: Path) -> None:
        """Read the published table, a JSON list of lines `character TAB code`.

        Raises:
            FolderError: it is missing or damaged.
        """
        self.codes: dict[str, str] = {}
        alike: dict[str, list[str]] = {}
        try:
            for entry in json.loads(path.read_text(encoding="utf-8")):
                character, code = entry.split("\t")[:2]
                self.codes[character] = code
                alike.setdefault(code, []).append(character)
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise FolderError(f"{path}: Chinese needs this table ({error}); convert the model again") from error
        for character, code in self.codes.items():
            number = alike[code].index(character)
            self.codes[character] = f"{code}{number or ''}"

    def __call__(self, text: str) -> str:
        """Spell every letter that the table has."""
        words = _chinese_words(text)
        return "".join(self._spelt(c) if unicodedata.category(c) == "Lo" else c for c in words)

    def _spelt(self, character: str) -> str:
        code = self.codes.get(character)
        return character if code is None else "".join(f"[cj_{key}]" for key in f"{code}.")


def _chinese_words(text: str) -> str:
    """Words set apart by spaces, as the training data has them."""
    segmenter = _chinese_segmenter()
    if segmenter is None:
        _warn("Chinese words are not set apart without spacy-pkuseg: pip install 'pytorch-to-mlx[chatterbox-zh]'")
        return text
    return " ".join(segmenter.cut(text))


@cache
def _chinese_segmenter() -> Any:
    try:
        from spacy_pkuseg import pkuseg  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    try:
        return pkuseg()
    except Exception as error:  # it downloads its model the first time
        raise MissingDependencyError(
            f"spacy-pkuseg cannot load its model ({error}); connect, or uninstall it"
        ) from error


def japanese(text: str) -> str:
    """Kanji read aloud as hiragana; katakana stays.

    Raises:
        MissingDependencyError: there are kanji, and pykakasi, which reads them, is not installed.
    """
    if not any(_is_kanji(c) for c in text):
        return unicodedata.normalize("NFKD", text)
    read = "".join(_hiragana(word["orig"], word["hira"]) for word in _kakasi().convert(text))
    return unicodedata.normalize("NFKD", read)


def _hiragana(word: str, hiragana: str) -> str:
    if not any(_is_kanji(c) for c in word):
        return word
    # A word that begins like a particle would be taken for one.
    return f" {hiragana}" if hiragana[:1] in ("は", "へ") else hiragana


def _is_kanji(character: str) -> bool:
    return "\u4e00" <= character <= "\u9fff"


@cache
def _kakasi() -> Any:
    try:
        import pykakasi
    except ImportError as error:
        raise MissingDependencyError(
            "kanji are read with the package pykakasi: pip install 'pytorch-to-mlx[chatterbox-ja]', or write kana"
        ) from error
    return pykakasi.kakasi()


def hebrew(text: str) -> str:
    """As written: upstream means to add vowel points with dicta-onnx, but fails to start it, and goes on without."""
    if any("\u05d0" <= c <= "\u05ea" for c in text) and not any("\u05b0" <= c <= "\u05bc" for c in text):
        _warn("Hebrew without vowel points is guessed at, by upstream too; write the points for exact speech")
    return text


def korean(text: str) -> str:
    """Syllables are letters (Jamo) already, by NFKD; upstream's own decomposition is the same."""
    return text.strip()


def russian(text: str) -> str:
    """With stress marks, where the package russian_text_stresser is installed."""
    stresser = _russian_stresser()
    if stresser is None:
        _warn(
            "russian_text_stresser is not installed, so Russian stress is guessed; it comes from its GitHub repository"
        )
        return text
    try:
        return stresser.stress_text(text)
    except Exception as error:  # as upstream: whatever goes wrong there, the text is said without
        _warn(f"Russian stress could not be marked ({error}), so it is guessed")
        return text


@cache
def _russian_stresser() -> Any:
    try:
        from russian_text_stresser.text_stresser import RussianTextStresser  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    return RussianTextStresser()


def _warn(message: str) -> None:
    """Once in a process, as warnings are shown: the place is always this one."""
    warnings.warn(message, stacklevel=1)


PREPARATIONS: dict[str, Callable[[str], str]] = {"ja": japanese, "he": hebrew, "ko": korean, "ru": russian}
"""What a language needs besides lower case and NFKD. Chinese needs `Cangjie` and its table."""
