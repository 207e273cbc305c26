"""How far what was heard is from what was to be said: error rates of words, or of characters (jiwer)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal
from unicodedata import category
from unicodedata import normalize as composed

from pytorch_to_mlx.errors import MissingDependencyError
from pytorch_to_mlx.text.normalisation import normalise

# Thai, Lao, Tibetan, Burmese, Khmer, kana, Han.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]"
)
_APOSTROPHES = str.maketrans("", "", "'’")
"""So that `I'm` is one word, however it is written."""


@dataclass(frozen=True)
class ErrorRate:
    """Words or characters that are wrong, missing or too many, by how many there should be.

    Attributes:
        of: what was counted.
        value: 0 where both agree; above 1 where more was heard than there was to say.
    """

    of: Literal["word", "character"]
    value: float


def check_libraries() -> None:
    """Whether texts can be compared, before there are any.

    Raises:
        MissingDependencyError: jiwer is not installed, or wetext, without which `12` is not `twelve`.
    """
    for name in ("jiwer", "wetext"):
        if find_spec(name) is None:
            raise MissingDependencyError(
                f"error rates need {name}; install it with: pip install 'pytorch-to-mlx[words]'"
            )


def error_rate(said: str, heard: str, language: str | None = None) -> ErrorRate | None:
    """Of a transcript; case, punctuation, and how numbers are written do not count.

    Characters are counted where letters of scripts without spaces between words are more than words of others.

    Args:
        said: what there was to say.
        heard: the transcript.
        language: of both, name or code, as `normalise` takes it.

    Returns:
        None if there was no word to say.

    Raises:
        MissingDependencyError: as `check_libraries`.
    """
    check_libraries()
    import jiwer

    expected, found = (_bare(normalise(text, language)) for text in (said, heard))
    if not expected:
        return None
    if _is_unspaced(expected):
        return ErrorRate("character", jiwer.cer(expected.replace(" ", ""), found.replace(" ", "")))
    return ErrorRate("word", jiwer.wer(expected, found))


def _bare(text: str) -> str:
    """Letters and digits, in one case."""
    text = composed("NFKC", text).casefold().translate(_APOSTROPHES)
    return " ".join("".join(sign if category(sign)[0] in "LMN" else " " for sign in text).split())


def _is_unspaced(text: str) -> bool:
    return len(_UNSPACED.findall(text)) > len(_UNSPACED.sub(" ", text).split())
