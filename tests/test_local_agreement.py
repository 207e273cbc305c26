"""The policy of streams: which words are confirmed and when, and where sound is cut."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from phrases import phrase

from pytorch_to_mlx.service.agreement import LONGEST, PROMPT, TRIM, LocalAgreement, Said
from pytorch_to_mlx.tasks import Word


def text(said: Sequence[Said]) -> str:
    return "".join(each.word.word for each in said).strip()


# What two hypotheses agree on


def test_what_two_hypotheses_agree_on_is_confirmed_once() -> None:
    policy = LocalAgreement(1.0)
    assert policy.hear([phrase("the cat")], 1.0) == []
    assert text(policy.hear([phrase("the cat sat")], 2.0)) == "the cat"
    assert text(policy.hear([phrase("the cat sat on")], 3.0)) == "sat"
    assert text(policy.hear([phrase("the cat sat on")], 4.0)) == "on"
    assert policy.hear([phrase("the cat sat on")], 5.0) == []


def test_what_changes_is_not_confirmed() -> None:
    policy = LocalAgreement(1.0)
    policy.hear([phrase("I scream for")], 1.0)
    assert policy.hear([phrase("ice cream for")], 2.0) == []
    assert policy.hear([phrase("I scream for")], 3.0) == []  # two in a row, not two of three
    assert text(policy.hear([phrase("I scream four")], 4.0)) == "I scream"
    assert policy.hear([], 5.0) == []
    assert policy.finish(5.0) == []  # the last hypothesis has nothing of it


def test_marks_have_to_agree_too() -> None:
    policy = LocalAgreement(1.0)
    policy.hear([phrase("the cat.")], 1.0)
    assert text(policy.hear([phrase("the cat and")], 2.0)) == "the"


def test_the_end_confirms_what_is_left() -> None:
    policy = LocalAgreement(1.0)
    policy.hear([phrase("the cat")], 1.0)
    policy.hear([phrase("the cat sat down")], 2.0)
    assert text(policy.finish(2.0)) == "sat down"
    assert policy.finish(2.0) == []


def test_confirmed_words_that_change_later_are_neither_said_again_nor_missed() -> None:
    policy = LocalAgreement(1.0)
    for heard in (1.0, 2.0):
        policy.hear([phrase("the cat sat")], heard)
    policy.hear([phrase("A cat, sat on the mat")], 3.0)
    assert text(policy.hear([phrase("The fat cat sat on the mat now")], 4.0)) == "on the mat"


def test_words_may_really_be_repeated() -> None:
    policy = LocalAgreement(1.0)
    for heard in (1.0, 2.0):
        policy.hear([phrase("very")], heard)
    policy.hear([phrase("very very", length=0.15)], 3.0)
    assert text(policy.hear([phrase("very very", length=0.15)], 4.0)) == "very"


@pytest.mark.parametrize(
    ("old", "new", "begins"),
    [("the cat sat on the mat", "and then he left", 3.0), ("a b c d e f g h i j k l", "m n o", 6.0)],
)
def test_new_words_are_not_taken_for_confirmed_ones_that_are_gone(old: str, new: str, begins: float) -> None:
    policy = LocalAgreement(1.0)
    for heard in (begins, begins + 1):
        policy.hear([phrase(old)], heard)
    policy.hear([phrase(new, begins)], begins + 2)
    assert text(policy.hear([phrase(new, begins)], begins + 2)) == new


def test_times_neither_go_back_nor_lie_ahead() -> None:
    policy = LocalAgreement(1.0)
    policy.hear([phrase("one two")], 1.0)
    said = policy.hear([phrase("one two")], 1.0)
    words = [Word(" one", 0, 0.5, 1), Word(" two", 0.5, 1, 1), Word(" three", 0.7, 0.9, 1), Word(" four", 0.9, 9, 1)]
    policy.hear([words], 2.0)
    said += policy.hear([words], 2.0)
    times = [time for each in said for time in (each.word.start, each.word.end)]
    assert text(said) == "one two three four" and times == [0, 0.5, 0.5, 1, 1, 1, 1, 2]


# Where sound is cut


def test_long_sound_is_cut_where_a_sentence_ends() -> None:
    policy = LocalAgreement(1.0)
    hypothesis = [phrase("It rained. We went") + phrase("home", 5.0)]
    policy.hear(hypothesis, TRIM)
    assert text(policy.hear(hypothesis, TRIM)) == "It rained. We went home" and policy.start == 0  # not long yet
    policy.hear(hypothesis, TRIM + 1)
    assert policy.start == 1.0 and policy.said == " It rained."  # not within the pause: there is none
    policy.hear([phrase("We went", 1.0), phrase("home again", 5.0), phrase("soon", 7.0)], 18.0)
    after = policy.hear([phrase("We went", 1.0), phrase("home again", 5.0), phrase("soon", 7.0)], 19.0)
    assert text(after) == "again soon"
    assert policy.start == pytest.approx(6.2) and policy.said == " It rained. We went home again"  # a phrase's end


def test_the_end_of_the_last_phrase_is_none() -> None:
    policy = LocalAgreement(1.0)
    for heard in (16.0, 17.0):
        policy.hear([phrase("on and on")], heard)
    assert policy.start == 0


def test_the_end_of_a_word_that_was_cut_off_is_not_another_word() -> None:
    policy = LocalAgreement(1.0)
    policy.hear([phrase("a dog. An")], 1.0)
    policy.hear([phrase("a dog. And")], 16.0)
    assert policy.start == 1.0
    again = [Word(" Dog.", 1.0, 1.1, 1.0), *phrase("And on", 1.1)]
    assert text(policy.hear([again], 17.0)) == "And"
    assert text(policy.hear([again], 18.0)) == "on"
    policy = LocalAgreement(1.0)
    for heard in (1.0, 16.0):
        policy.hear([phrase("No.")], heard)
    for heard in (17.0, 18.0):
        found = policy.hear([phrase("No. Never", 1.4, 0.3)], heard)
    assert text(found) == "No. Never"  # somebody took the time to say it


def test_sound_is_cut_even_if_nothing_is_certain() -> None:
    policy = LocalAgreement(1.0)
    said: list[Said] = []
    for second in range(1, 200):
        hypothesis = phrase(" ".join(f"w{second}x{i}" for i in range(3)), max(policy.start, second - 20.0), 3.0)
        said += policy.hear([hypothesis], float(second))
        assert second - policy.start <= LONGEST - 1
    assert said


def test_silence_is_cut_off_and_some_of_it_kept() -> None:
    policy = LocalAgreement(1.0)
    for second in range(1, 100):
        assert policy.hear([], float(second)) == []
        assert LONGEST / 2 <= second - policy.start <= LONGEST - 1 or policy.start == 0
    assert policy.start > 0 and policy.said == ""


def test_what_was_said_is_told_in_whole_words_and_bounded() -> None:
    policy = LocalAgreement(1.0)
    second = 0.0
    while second < 600:
        words = phrase("remarkable things. again", second, 1.0)
        for heard in (second + 14, second + 16):
            policy.hear([[word for word in words if word.start >= policy.start]], heard)
        second = policy.start + 17
        assert len(policy.said) <= PROMPT and set(policy.said.split()) <= {"remarkable", "things.", "again"}
    assert len(policy.said) > PROMPT - 20
