"""`narrate` with a check of words, by a speaker and a recogniser that do as they are told."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from told_room import CONFIG, RATE, Room, made_room

from pytorch_to_mlx import Audio
from pytorch_to_mlx.errors import AudioError, MissingDependencyError, UsageError
from pytorch_to_mlx.service import checks, distributed, speaking
from pytorch_to_mlx.service.audit import audit
from pytorch_to_mlx.service.cache import ResultCache
from pytorch_to_mlx.service.job import Job, SpeakerCheck, WordsCheck
from pytorch_to_mlx.service.narrator import Narrator
from pytorch_to_mlx.service.script import as_segments
from pytorch_to_mlx.tasks import Transcript
from pytorch_to_mlx.text import error_rate as judge


class Encoder:
    """A speaker encoder that hears nothing in sounds of one loudness."""

    def __init__(self, deaf_to: float) -> None:
        self.deaf_to = deaf_to

    def embed(self, audio: Audio) -> np.ndarray:
        if abs(audio.samples[0] - self.deaf_to) < 1e-3:
            raise AudioError("heard nothing")
        return np.ones(2)

    def embed_speaker(self, recordings: Sequence[Audio]) -> np.ndarray:
        return self.embed(recordings[0])

    def similarity(self, first: np.ndarray, second: np.ndarray) -> float:
        return float(first @ second)


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    return made_room(tmp_path, monkeypatch)


def test_said_again_until_the_words_are_right(room: Room) -> None:
    room.heard["Two apples."] = ["Two grapes.", "two APPLES"]
    wrong, right = room.narrate(["Two apples.", "Three pears."]).as_json()["segments"]
    assert (wrong["attempts"], wrong["wer"], wrong["transcript"], wrong["passed"]) == (2, 0.0, "two APPLES", True)
    assert (right["attempts"], right["wer"], right["transcript_language"]) == (1, 0.0, "en")
    assert Counter(each.text for each in room.takes) == {"Two apples.": 2, "Three pears.": 1}
    assert room.take(Audio.read(wrong["path"])) == room.takes[2], "the second one is delivered"
    assert wrong["seed"] == room.takes[2].seed != room.takes[0].seed == right["seed"]


def test_the_best_is_kept_and_fails(room: Room) -> None:
    text = "one two three four five"
    room.heard[text] = ["no two three no five", "one two three four", "one two three four", "no no no"]
    narration = room.narrate([text], room.job(retries=3))
    (told,) = narration.as_json()["segments"]
    assert (told["wer"], told["attempts"], told["passed"], told["seed"]) == (0.2, 4, False, room.takes[1].seed)
    assert told["faults"] == ["word error rate 0.2000, above --max-wer 0.1"]
    assert told["transcript"] == room.heard[text][1]
    assert narration.as_json()["failed"] == ["001"] and room.take(Audio.read(told["path"])) is room.takes[1]
    assert not room.narrate([text], room.job(0.2, retries=3)).failed, "as many as are allowed"
    assert room.narrate([text], room.job(retries=0)).results[0].about["attempts"] == 1


def test_a_retry_that_fails_loses_no_try(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.heard = {"One two.": ["one"], "Three and four.": ["no", "three and four"]}
    transcribe = room.transcribe

    def failing(audio: Audio, **given: Any) -> Transcript:
        if room.take(audio).text == "One two." and room.take(audio) is not room.takes[0]:
            raise RuntimeError("[malloc] out of memory")
        return transcribe(audio, **given)

    with monkeypatch.context() as patch:
        patch.setattr(room, "transcribe", failing)
        kept, other = room.narrate(["One two.", "Three and four."]).results
    assert kept.path and not kept.error and room.take(Audio.read(kept.path)) is room.takes[0]
    assert (kept.about["attempts"], kept.about["wer"], kept.passed) == (3, 0.5, False)
    assert kept.about["retry_error"] == "RuntimeError: [malloc] out of memory"
    assert other.passed and other.about["attempts"] == 2 and "retry_error" not in other.about
    room.heard["One two."] = ["one two"]
    again, same = room.narrate(["One two.", "Three and four."]).results
    assert again.passed and not again.from_cache and same.from_cache, "what failed may not fail again"


def test_where_there_is_no_word_nothing_is_checked(room: Room) -> None:
    narration = room.narrate(["♪ …", "Hi."])
    assert narration.unchecked == narration.as_json()["unchecked"] == ["001"] and not narration.failed
    assert narration.results[0].about["wer"] is None and "unchecked" not in narration.results[1].about


def test_characters_of_languages_without_spaces(room: Room) -> None:
    room.heard["今日は晴れです。"] = ["今日は雨です"]
    script = [{"text": "今日は晴れです。", "language": "Japanese"}, {"text": "我有12个苹果。", "language": "zh-CN"}]
    japanese, chinese = room.narrate(script, room.job(0.3)).results
    assert (japanese.about["cer"], chinese.about["cer"]) == (0.2857, 0.0) and japanese.passed
    assert "wer" not in japanese.about and chinese.said == "我有十二个苹果。"
    room.heard["十二"] = ["12"]
    (number,) = room.narrate([{"text": "12", "language": "chinese"}]).results
    assert number.about["cer"] == 0.0, "a number is in words of the segment's language"
    strict, _ = room.narrate(script).results
    assert strict.about["faults"] == ["character error rate 0.2857, above --max-wer 0.1"]


@pytest.mark.parametrize("normalize", [True, False])
def test_numbers_are_alike_however_they_are_written(room: Room, normalize: bool) -> None:
    text = "I have 12 apples of 3.4 kg."
    written = ("I have twelve apples of 3.4 kilograms", "i have 12 apples, of three point four kilograms")
    said = "I have twelve apples of three point four kilograms." if normalize else text
    for heard in written:
        room.heard[said] = [heard]
        narration = room.narrate([text], room.job(normalize=normalize, seed=written.index(heard)))
        assert narration.results[0].said == said and narration.results[0].about["wer"] == 0.0
    room.heard[said] = ["I have 13 apples of 3.4 kg"]
    assert room.narrate([text], room.job(normalize=normalize, seed=2)).results[0].about["wer"] > 0


def test_the_recogniser_is_told_the_language_that_it_knows(room: Room) -> None:
    room.hears = "nl"
    given = ["english", "en_US", "de", "Klingon", "auto", None]
    script = [{"text": "Hello " + "o" * n, "language": language} for n, language in enumerate(given)]
    narration = room.narrate(script)
    assert room.languages == ["en", "en", "de", None, None, None]
    assert [each.about["transcript_language"] for each in narration.results] == ["en", "en", "de", "nl", "nl", "nl"]
    room.narrate(["Hallo."], room.job(language="German"))
    assert room.languages[-1] == "de", "the job's, where the segment names none"


def test_silence_has_no_words(room: Room) -> None:
    room.loud = 1e-6
    (result,) = room.narrate(["Hi."]).results
    assert (result.about["transcript"], result.about["wer"], result.passed) == ("", 1.0, False)
    assert not room.languages, "a recogniser would make some up"


def test_verdicts_are_in_the_cache(room: Room) -> None:
    room.heard["One two."] = ["won two"]
    script = ["One two.", "Three."]
    first = room.narrate(script)
    assert room.loads == {"model": 1, "asr": 1}
    again = room.narrate(script)
    assert room.loads == {"model": 1, "asr": 1}, "nothing is loaded for what is known"
    assert [each.about for each in again.results] == [each.about for each in first.results]
    assert [each.id for each in again.failed] == ["001"] and all(each.from_cache for each in again.results)
    assert all(each.from_cache for each in room.narrate(script, room.job()).results)
    both = [SpeakerCheck(), *room.job().checks]
    (room.folder / "asr" / "weights").write_bytes(b"others")
    others = [room.job(), room.job(0.2), room.job(retries=1), room.job(checks=[])]
    for other in others:
        assert not any(each.from_cache for each in room.narrate(script, other).results)
    assert room.loads == {"model": 5, "asr": 4}, "nothing stays in memory from job to job"
    Audio(np.ones(RATE, np.float32), RATE).write(room.folder / "anna.wav")
    anna = room.job(voice=str(room.folder / "anna.wav"))
    room.narrate(script, anna)
    assert not any(each.from_cache for each in room.narrate(script, replace(anna, checks=both)).results)


def test_both_checks_at_once(room: Room) -> None:
    Audio(np.ones(RATE, np.float32), RATE).write(room.folder / "anna.wav")
    words, speaker = WordsCheck(room.folder / "asr"), SpeakerCheck(0.7)
    text = "one two three four"
    room.heard[text] = ["one two", "one two three four", "one two three"]
    room.alike[text] = [0.9, 0.5, 0.6]

    def told(*asked: Any, seed: int) -> Mapping[str, Any]:
        job = room.job(checks=asked, seed=seed, voice=str(room.folder / "anna.wav"))
        return room.narrate([text], job).results[0].about

    assert told(words, speaker, seed=1)["wer"] == 0.0, "of tries with one fault each, the first check tells the best"
    best = told(speaker, words, seed=2)
    assert (best["similarity"], best["wer"], best["attempts"]) == (0.9, 0.5, 3)
    assert best["faults"] == ["word error rate 0.5000, above --max-wer 0.1"]
    room.heard[text], room.alike[text] = ["no", "one two three four"], [0.6, 0.5]
    worst = told(speaker, words, seed=3)
    assert (worst["similarity"], worst["wer"]) == (0.5, 0.0), "fewer faults come first"
    assert worst["faults"] == ["likeness 0.5000 to its voice, below --threshold 0.7"] and not worst["passed"]
    room.alike[text] = [0.6, 0.8]
    passed = told(speaker, words, seed=4)
    assert passed["passed"] and passed["attempts"] == 2 and "faults" not in passed


def test_a_reference_that_no_encoder_hears_is_an_error(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unlike a segment that is too short to tell, which passes."""
    (room.folder / "encoder").mkdir()
    (room.folder / "encoder" / "config.json").write_text(
        json.dumps(CONFIG | {"task": "speaker encoder", "variant": "x"})
    )
    Audio(np.ones(RATE, np.float32), RATE).write(room.folder / "anna.wav")
    monkeypatch.setattr(checks, "load", lambda folder: Encoder(deaf_to))
    job = room.job(checks=[SpeakerCheck(encoder=room.folder / "encoder")], voice=str(room.folder / "anna.wav"))
    deaf_to = 1.0
    (failed,) = room.narrate(["Hi."], job).results
    assert "anna.wav: heard nothing" in failed.error
    deaf_to = 0.005
    narration = room.narrate(["Hi."], job)
    assert narration.unchecked == ["001"] and not narration.failed


def test_the_fallback_has_the_same_recogniser(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_or_not(folder: Path) -> Any:
        if folder.name == "model":
            raise RuntimeError("[malloc] out of memory")
        return room.load(folder)

    room.heard["Hello there."] = ["Hello dear"]
    room.narrate(["Before."])
    monkeypatch.setattr(speaking, "load", load_or_not)
    (result,) = room.narrate(["Hello there."], room.job(fallback=room.folder / "small", retries=1)).results
    assert result.about["fallback"] and (result.about["wer"], result.about["attempts"]) == (0.5, 2)
    assert room.loads == {"model": 1, "small": 1, "asr": 2}, "one for each job"


def test_an_audit_checks_nothing(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    narration = room.narrate(["Hello."])
    monkeypatch.setattr(speaking.Speaker, "as_float32", lambda self: None)
    before = list(room.languages)
    (audited,) = audit(narration.results, as_segments(["Hello."]), room.job(), ResultCache(room.folder / "c"), share=1)
    assert not audited.error and room.languages == before


def test_workers_hear_with_one_recogniser(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_TO_MLX_CACHE", str(room.folder / "worker"))
    monkeypatch.chdir(room.folder)
    relative = Job(Path("model"), checks=[WordsCheck(Path("asr")), SpeakerCheck(encoder=Path("encoder"))])
    seen = distributed._as_seen_from_anywhere(relative)
    assert seen.model == room.folder / "model"
    assert seen.checks == (WordsCheck(room.folder / "asr"), SpeakerCheck(encoder=room.folder / "encoder"))
    job = distributed._as_seen_from_anywhere(room.job())
    room.heard["Two."] = ["too", "two"]
    results = []
    for segments in (as_segments(["One.", "Two."]), as_segments(["Three."])):
        keys = Narrator(job, ResultCache(room.folder / "mine")).keys(segments)
        results += [result for result, sound in distributed.say(job, segments, keys) if sound]
    assert [(each.about["wer"], each.about["attempts"]) for each in results] == [(0, 1), (0, 2), (0, 1)]
    assert room.loads == {"model": 1, "asr": 1}
    (room.folder / "asr" / "weights").write_bytes(b"others")
    segments = as_segments(["Four."])
    distributed.say(job, segments, Narrator(job, ResultCache(room.folder / "mine")).keys(segments))
    assert room.loads == {"model": 1, "asr": 2}, "other bytes are another recogniser"


def test_what_cannot_hear_is_refused_before_the_work(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"--asr .*model holds no recogniser of speech; convert openai/whisper"):
        room.narrate(["Hi."], room.job(checks=[WordsCheck(room.folder / "model")]))
    with pytest.raises(UsageError, match=r"--asr: .*absent"):
        room.narrate(["Hi."], room.job(checks=[WordsCheck(room.folder / "absent")]))
    for library in ("jiwer", "wetext"):
        with monkeypatch.context() as patch:
            patch.setattr(judge, "find_spec", lambda name, gone=library: None if name == gone else find_spec(name))
            with pytest.raises(MissingDependencyError, match=rf"--check words: error rates need {library}; "):
                room.narrate(["Hi."])
    monkeypatch.setattr(checks, "load", lambda folder: object())
    with pytest.raises(UsageError, match="asr holds no Transcriber"):
        room.narrate(["Hi."])
    assert not room.takes


def test_nothing_is_said_that_there_is_no_room_to_hear(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path) -> None:
        raise MemoryError(f"{folder.name}: weights of 9 GB, 1 GB of memory are free")

    monkeypatch.setattr(checks, "check_room", full)
    narration = room.narrate(["One.", "Two."])
    assert [result.about.get("out_of_memory") for result in narration.failed] == [True, True] and not room.takes
    assert "asr: weights of 9 GB" in narration.results[0].error
