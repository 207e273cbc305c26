"""audio/passage: where a long recording is cut."""

from __future__ import annotations

import numpy as np
import pytest

from pytorch_to_mlx import Audio
from pytorch_to_mlx.audio.passage import best_passage

RATE = 16000


def speech(seconds: float, seed: int = 0, loud: float = 0.1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, loud, round(seconds * RATE)).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


def cut(parts: list[np.ndarray], seconds: float) -> tuple[float, float]:
    first, last = best_passage(np.concatenate(parts), RATE, seconds)
    return first / RATE, last / RATE


def test_speech_is_preferred_to_silence() -> None:
    start, end = cut([silence(3), speech(4), silence(3)], 4)
    assert start == pytest.approx(3, abs=0.05) and end == pytest.approx(7, abs=0.05)


def test_clipped_speech_is_avoided() -> None:
    shouted = np.clip(speech(3, loud=2), -1, 1)
    start, end = cut([shouted, silence(0.3), speech(3, 1), silence(0.3)], 3.2)
    assert start >= 3 and end - start <= 3.2


def test_words_are_not_cut() -> None:
    """Of words of a second between pauses, whole ones are taken."""
    words = [part for n in range(6) for part in (speech(1, n), silence(0.3))]
    start, end = cut(words, 3)
    for edge in (start, end):
        within = edge % 1.3
        assert within >= 0.97 or within <= 0.03, edge
    assert 2 <= end - start <= 3


@pytest.mark.parametrize("seconds", [2, 2.5, 100])
def test_short_recordings_stay_as_they_are(seconds: float) -> None:
    assert cut([speech(2)], seconds) == (0, 2)


def test_silence_alone_is_cut_too() -> None:
    start, end = cut([silence(10)], 3)
    assert end - start <= 3


def test_of_a_recording() -> None:
    start, passage = Audio(np.concatenate([silence(2), speech(2), silence(2)]), RATE).passage(2)
    assert start == pytest.approx(2, abs=0.05) and passage.rate == RATE and passage.seconds <= 2
