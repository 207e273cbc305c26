"""Chatterbox's text: upstream's `punc_norm` and tokenizers.

Cases `text/CODE`, and `text/CODE_more`, from the UTF-8 bytes of `text` and of `language` (none for English models):

    normalised   (bytes,)   the text as `punc_norm` leaves it, in UTF-8
    ids          (n,)       without start and stop

The environment has none of upstream's packages for Chinese words and Russian stress, which would download, and the one
for Hebrew fails for every user: upstream goes on without.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from _recording import Recording
from chatterbox import mtl_tts, tts, tts_turbo

ENGLISH = {
    "en": "Hello there — the “quick” fox... isn’t it: lazy? ",
    "en_more": "  the end; of  1 - 2 things…",
}
TURBO = {**ENGLISH, "en_tags": "Well, [laugh] that is [clear throat] odd 🙂 [sigh]"}
MULTILINGUAL = {
    "ar": "مرحبا بالعالم، كيف حالك؟",
    "da": "Rødgrød med fløde, tak.",
    "de": "Über Straßen und Plätze: schön!",
    "el": "Γειά σου, κόσμε!",
    "en": "Hello there — the “quick” fox...",
    "es": "¿Qué tal, señor? Mañana será mejor.",
    "fi": "Hyvää päivää, maailma.",
    "fr": "Ça va ? L’été, déjà vu…",
    "he": "שלום עולם",
    "hi": "नमस्ते, आप कैसे हैं?",
    "it": "Perché no? È così.",
    "ja": "こんにちは、日本の花は橋へ。カタカナも",
    "ko": "안녕하세요, 세계!",
    "ms": "Selamat pagi, dunia.",
    "nl": "Goedemorgen, wereld: hoe gaat het?",
    "no": "Blåbærsyltetøy på brød.",
    "pl": "Zażółć gęślą jaźń.",
    "pt": "Olá, não é amanhã?",
    "ru": "Привет, мир! Как дела?",
    "sv": "God morgon, världen på ön.",
    "sw": "Habari ya asubuhi, dunia.",
    "tr": "Günaydın dünya, İyi misin?",
    "zh": "你好，世界！今天日曰明天。",
}
TEXTS = {"english": ENGLISH, "turbo": TURBO, "multilingual": MULTILINGUAL}
NORMALISE: dict[str, Callable[[str], str]] = {
    "english": tts.punc_norm,
    "turbo": tts_turbo.punc_norm,
    "multilingual": mtl_tts.punc_norm,
}


def record(recording: Recording, tokenizer: Any, *, variant: str) -> None:
    """Adds a case for each text of the variant."""
    for name, text in TEXTS[variant].items():
        language = name if variant == "multilingual" else ""
        normalised = NORMALISE[variant](text)
        ids = np.array(_encode(tokenizer, normalised, variant, language))
        recording.add(
            f"text/{name}",
            inputs={"text": _bytes(text), "language": _bytes(language)},
            taps={"normalised": _bytes(normalised), "ids": ids},
            alive={"distinct_tokens": np.unique(ids).size},
        )


def _encode(tokenizer: Any, text: str, variant: str, language: str) -> Sequence[int]:
    if variant == "turbo":
        return tokenizer(text)["input_ids"]
    return tokenizer.encode(text, language_id=language) if language else tokenizer.encode(text)


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8).astype(np.int64)
