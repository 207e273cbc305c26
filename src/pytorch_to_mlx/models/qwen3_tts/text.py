"""Texts as the talker is given them: Qwen2's tokenizer, and the turns of a conversation around what is said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytorch_to_mlx.errors import FolderError, UsageError
from pytorch_to_mlx.text.library import FILE, read_tokenizer

LANGUAGES = {
    "zh": "chinese",
    "en": "english",
    "ja": "japanese",
    "ko": "korean",
    "de": "german",
    "fr": "french",
    "ru": "russian",
    "pt": "portuguese",
    "es": "spanish",
    "it": "italian",
}
"""The names of languages, as the models have them, by code."""


def language_name(language: str | None) -> str | None:
    """As the models have it, of a code or a name."""
    return LANGUAGES.get((language or "").lower(), language)


def language_code(language: str | None) -> str | None:
    """The code of a code or a name; None where there is none."""
    known = (language or "").lower()
    return next((code for code, name in LANGUAGES.items() if known in (code, name)), None)


class TextTokenizer:
    """Text to token ids, with what stands around it.

    Raises:
        FolderError: the folder's tokenizer is missing or damaged, or has more tokens than the `vocabulary`.
    """

    def __init__(self, folder: Path, vocabulary: int) -> None:
        self.tokenizer = read_tokenizer(folder)
        if max(self.tokenizer.get_vocab().values(), default=0) >= vocabulary:
            raise FolderError(f"{folder / FILE}: has tokens that the model has not; convert the model again")
        self._around = len(self.said("a")) - 1

    def said(self, text: str) -> list[int]:
        """Of a text to be said. Raises `UsageError` if there is none."""
        # A line's end at the beginning would join the one before it in one token.
        if not (text := text.strip()):
            raise UsageError("there is no text to say; give some with --text or --file")
        return self._ids(f"<|im_start|>assistant\n{text}<|im_end|>\n<|im_start|>assistant\n")

    def length(self, said: Sequence[int]) -> int:
        """Of the text alone, of what `said` gave."""
        return len(said) - self._around

    def heard(self, text: str) -> list[int]:
        """Of what a reference says, which is something."""
        return self._ids(f"<|im_start|>assistant\n{text.strip()}<|im_end|>\n")

    def instruction(self, text: str | None) -> list[int]:
        """Of how to say it."""
        return self._ids(f"<|im_start|>user\n{text}<|im_end|>\n") if text else []

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text).ids
