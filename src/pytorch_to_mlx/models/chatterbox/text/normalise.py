"""Punctuation as the models know it: `punc_norm` of chatterbox/tts.py, mtl_tts.py and tts_turbo.py."""

from __future__ import annotations

from typing import Literal

from pytorch_to_mlx.errors import UsageError

TextKind = Literal["english", "multilingual", "gpt2"]

# In this order: "..." becomes ", ", and the " ," of "Well ..." then loses its space.
QUOTES = (("“", '"'), ("”", '"'), ("‘", "'"), ("’", "'"))
PLAIN = (
    ("...", ", "),
    ("…", ", "),
    (":", ","),
    (" - ", ", "),
    (";", ", "),
    ("—", "-"),
    ("–", "-"),
    (" ,", ","),
    *QUOTES,
)
TURBO = (("…", ", "), (":", ","), ("—", "-"), ("–", "-"), (" ,", ","), *QUOTES)
ENDS = (".", "!", "?", "-", ",")
ENDS_MULTILINGUAL = (*ENDS, "、", "，", "。", "？", "！")


def normalise(text: str, kind: TextKind) -> str:
    """The text with a capital first letter, single spaces, known punctuation, and a mark at its end.

    Raises:
        UsageError: there is nothing but spaces. Upstream says "You need to add some text for me to talk." aloud.
    """
    if not text.strip():
        raise UsageError("there is no text to say; give some with --text or --file")
    if text[0].islower():
        text = text[0].upper() + text[1:]
    text = " ".join(text.split())
    for uncommon, common in TURBO if kind == "gpt2" else PLAIN:
        text = text.replace(uncommon, common)
    text = text.rstrip(" ")
    return text if text.endswith(ENDS_MULTILINGUAL if kind == "multilingual" else ENDS) else f"{text}."
