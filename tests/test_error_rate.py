"""Error rates of transcripts: what counts as wrong, and what is counted."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from pytorch_to_mlx.errors import MissingDependencyError
from pytorch_to_mlx.text import error_rate as module
from pytorch_to_mlx.text.error_rate import error_rate


@pytest.mark.parametrize(
    ("said", "heard", "language", "of", "value"),
    [
        ("It's twelve o'clock, Anna!", "it’s 12 oclock anna", "en", "word", 0),
        ("It costs $5.50.", "it costs five dollars and fifty cents", "en", "word", 0),
        ("one two three four", "one three four five six", "en", "word", 0.75),
        ("one", "one two three", "en", "word", 2),
        ("Straße und Äpfel", "STRASSE UND A\u0308PFEL", "de", "word", 0),
        ("12 Äpfel", "zwölf Äpfel", "de", "word", 0.5),
        ("我有12个苹果。", "我有十二个 苹果", "zh", "character", 0),
        ("今日は晴れです。", "今日は雨です", "ja", "character", 2 / 7),
        ("สวัสดีครับ", "สวัสดีค่ะ", "th", "character", 0.3),
        ("我有 12 个苹果。", "我有12个苹果", "zh", "character", 0),
        ("我用Python。", "我用 python", "zh", "character", 0),
        ("Mr Li (李) spoke.", "mister li lee spoke", "de", "word", 0.5),
        ("안녕하세요 여러분", "안녕하세요", "ko", "word", 0.5),
        ("hello", "", "en", "word", 1),
    ],
)
def test_error_rates(said: str, heard: str, language: str, of: str, value: float) -> None:
    rate = error_rate(said, heard, language)
    assert rate is not None and rate.of == of and rate.value == pytest.approx(value)


def test_of_a_text_without_words_there_is_no_rate() -> None:
    assert error_rate("♪ …", "la la", "en") is None
    assert error_rate("", "") is None


@pytest.mark.parametrize("library", ["jiwer", "wetext"])
def test_a_missing_library_is_told_without_any_flag(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == library else find_spec(name))
    with pytest.raises(MissingDependencyError, match=rf"^error rates need {library}; .*-to-mlx\[words\]"):
        error_rate("hello", "hello")
