"""Long text in pieces: cut where a speaker pauses, nothing lost, no piece too long."""

from __future__ import annotations

import random

import pytest

from pytorch_to_mlx.text import Segment, split_text
from pytorch_to_mlx.text.splitting import _BLANK_LINE, CLAUSE, LIMIT, PARAGRAPH, SENTENCE, WORD, spoken_length


def pieces(text: str, language: str | None = None, limit: int = 1) -> list[str]:
    return [segment.text for segment in split_text(text, language=language, limit=limit)]


# Boundaries are written as |.
CUT = {
    "en": [
        "Dr. Smith paid $3.14 for this thing.|She then left at 5 p.m. with J. R. Tolkien.",
        '"Stop right there!" he said to them all.|"Why would I ever do that?"',
        "He waited... and then went on for long.|See No. 5 for all of the details there.",
        "It was my turn and he said no.|Then the U.S. Army came (at last!) to us.",
        "Here is what you can do with Plan 5.|Then you do what you please.",
    ],
    "de": ["Am 3. Mai kam Hr. Müller, z.B. mit dem Zug.|Das war es dann auch schon wieder."],
    "fr": ["« Bonjour ! » dit-il à M. Dupont ce matin.|Ça va bien aujourd'hui, mon ami ?"],
    "el": ["Τι κάνεις εσύ σήμερα;|Είμαι πολύ καλά εδώ."],
    "hi": ["नमस्ते आप कैसे हैं।|मैं ठीक हूँ आज।"],
    "ar": ["كيف حالك اليوم؟|أنا بخير، شكرا لك."],
}


@pytest.mark.parametrize(("language", "text"), [(code, text) for code, texts in CUT.items() for text in texts])
def test_sentences_are_cut_where_they_end(language: str, text: str) -> None:
    parts = text.split("|")
    assert pieces(" ".join(parts), language, limit=max(map(len, parts))) == parts


def test_chinese_and_japanese_leave_no_spaces() -> None:
    assert pieces("你好。我叫小明！“你是谁？”他问。", limit=20) == ["你好。", "我叫小明！", "“你是谁？”", "他问。"]
    assert pieces("はい。「元気ですか？」と言う。", limit=36) == ["はい。「元気ですか？」", "と言う。"]


def test_pauses_are_those_of_what_ends() -> None:
    text = "One sentence here. Another one, rather long\nfor its limit, it seems to be.\n\nThe second paragraph."
    assert split_text(text, limit=31) == [
        Segment("One sentence here.", SENTENCE),
        Segment("Another one,", CLAUSE),
        Segment("rather long for its limit,", CLAUSE),
        Segment("it seems to be.", PARAGRAPH),
        Segment("The second paragraph.", PARAGRAPH),
    ]
    assert [segment.pause for segment in split_text("one two three", limit=5)] == [WORD, WORD, PARAGRAPH]
    assert PARAGRAPH > SENTENCE > CLAUSE > WORD == 0


def test_pieces_of_a_paragraph_are_about_equal() -> None:
    lengths = [len(piece) for piece in pieces("This is a sentence of forty characters. " * 15, limit=LIMIT)]
    assert len(lengths) == 3 and max(lengths) - min(lengths) <= 40


def test_short_text_stays_whole() -> None:
    assert split_text("Hello   there.\nHow are you?") == [Segment("Hello there. How are you?", PARAGRAPH)]
    assert split_text(" \n\n * * * \n\n") == []


def test_tags_are_not_cut() -> None:
    assert "[clear throat]" in pieces("so and so [clear throat] and so on and on", limit=14)


def test_a_word_without_end_is_cut_too() -> None:
    assert pieces("é" * 5 + "e\u0301" * 5, limit=4) == ["éééé", "ée\u0301", "e\u0301e\u0301", "e\u0301e\u0301"]
    assert all(spoken_length(piece) <= LIMIT for piece in pieces("日本語" * 400, limit=LIMIT))


def test_nothing_is_lost_and_no_piece_is_too_long() -> None:
    choose = random.Random(0)
    for _ in range(3000):
        text = "".join(choose.choices("ab Z.!?,;:\"'()[]…。，、é日本한 \n\n-—1।«»", k=choose.randrange(120)))
        limit, language = choose.choice([3, 5, 20, LIMIT]), choose.choice(["en", "de", "el", None])
        found = split_text(text, language=language, limit=limit)
        sayable = [part for part in _BLANK_LINE.split(text) if any(c.isalnum() for c in part)]
        assert "".join("".join(s.text.split()) for s in found) == "".join("".join(part.split()) for part in sayable)
        assert all(s.text == s.text.strip() != "" and spoken_length(s.text) <= limit for s in found), (text, limit)
