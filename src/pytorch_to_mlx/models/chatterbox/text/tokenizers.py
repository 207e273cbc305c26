"""Text to token ids: EnTokenizer and MTLTokenizer of chatterbox/models/tokenizers, and GPT-2's for Turbo."""

from __future__ import annotations

import unicodedata
import warnings
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pytorch_to_mlx.errors import FolderError, UsageError
from pytorch_to_mlx.models.chatterbox.text.languages import CANGJIE, PREPARATIONS, Cangjie
from pytorch_to_mlx.models.chatterbox.text.normalise import TextKind
from pytorch_to_mlx.text.library import FILE, read_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPACE, UNKNOWN = "[SPACE]", "[UNK]"
LANGUAGES = {
    "ar": "Arabic",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fi": "Finnish",
    "fr": "French",
    "he": "Hebrew",
    "hi": "Hindi",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "ms": "Malay",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "pt": "Portuguese",
    "ru": "Russian",
    "sv": "Swedish",
    "sw": "Swahili",
    "tr": "Turkish",
    "zh": "Chinese",
}


class TextTokenizer(Protocol):
    """Text, made ready by `normalise`, to token ids."""

    def check_language(self, language: str | None) -> None:
        """Raises `UsageError` for a language that the model does not speak, or none where it must be told."""
        ...

    def encode(self, text: str, language: str | None = None) -> np.ndarray:
        """Token ids, (n,) int32, without marks of start and end.

        Warns of characters that the model does not know.

        Raises:
            UsageError: as `check_language`.
            MissingDependencyError: the language needs a package that is not installed.
        """
        ...


def load_tokenizer(folder: Path, kind: TextKind) -> TextTokenizer:
    """The tokenizer of a model folder.

    Raises:
        FolderError: a file is missing or damaged.
        MissingDependencyError: `tokenizers` is not installed.
    """
    tokenizer = read_tokenizer(folder)
    if kind == "gpt2":
        return Gpt2Tokenizer(tokenizer)
    missing = [token for token in ("[START]", "[STOP]") if tokenizer.token_to_id(token) is None]
    if missing:
        raise FolderError(
            f"{folder / FILE}: has no token {missing[0]}: not Chatterbox's tokenizer; convert the model again"
        )
    return EnglishTokenizer(tokenizer) if kind == "english" else MultilingualTokenizer(tokenizer, folder)


class Gpt2Tokenizer:
    """Byte-level BPE, for which no character is unknown; tags such as `[laugh]` are tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def check_language(self, language: str | None) -> None:
        _check_english(language)

    def encode(self, text: str, language: str | None = None) -> np.ndarray:
        _check_english(language)
        return np.array(self.tokenizer.encode(text).ids, np.int32)


class EnglishTokenizer:
    """Chatterbox's first tokenizer: letters and common groups of them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def check_language(self, language: str | None) -> None:
        _check_english(language)

    def encode(self, text: str, language: str | None = None) -> np.ndarray:
        _check_english(language)
        return _ids(self.tokenizer, text)


class MultilingualTokenizer:
    """One vocabulary for 23 languages, each with a token of its own at the start."""

    def __init__(self, tokenizer: Tokenizer, folder: Path) -> None:
        self.tokenizer = tokenizer
        self.folder = folder

    @cached_property
    def cangjie(self) -> Cangjie:
        """The table of Chinese characters; read when first needed."""
        return Cangjie(self.folder / CANGJIE)

    def check_language(self, language: str | None) -> None:
        if language is None:
            raise UsageError(f"--language is missing, one of {', '.join(LANGUAGES)}")
        if language.lower() not in LANGUAGES:
            known = ", ".join(f"{code} ({name})" for code, name in LANGUAGES.items())
            raise UsageError(f"--language {language} is not one that this model speaks: {known}")

    def encode(self, text: str, language: str | None = None) -> np.ndarray:
        self.check_language(language)
        assert language is not None
        language = language.lower()
        text = unicodedata.normalize("NFKD", text.lower())
        prepare = self.cangjie if language == "zh" else PREPARATIONS.get(language)
        return _ids(self.tokenizer, f"[{language}]{prepare(text) if prepare else text}")


def _check_english(language: str | None) -> None:
    if language is not None and language.lower() != "en":
        raise UsageError(
            f"--language {language}: this model speaks English only; convert one with --variant multilingual"
        )


def _ids(tokenizer: Tokenizer, text: str) -> np.ndarray:
    """Ids of a text whose spaces are tokens."""
    text = text.replace(" ", SPACE)
    encoding = tokenizer.encode(text)
    unknown = [
        text[slice(*offset)]
        for token, offset in zip(encoding.tokens, encoding.offsets, strict=True)
        if token == UNKNOWN
    ]
    if unknown:
        listed = ", ".join(repr(part) for part in dict.fromkeys(unknown))
        warnings.warn(f"the model does not know {listed}, which may be left out or misread", stacklevel=3)
    return np.array(encoding.ids, np.int32)
