"""Which models narrate, how they are told who speaks, and in which order they are given what they say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from cli_room import run
from small_chatterbox import drawn_voice, small_chatterbox
from small_narration import SEGMENTS, SHORT, TEXTS, job, made, said, write_narrator
from small_qwen3_tts import write_model

from pytorch_to_mlx import Audio, convert, load
from pytorch_to_mlx.service import speaking
from pytorch_to_mlx.service.cache import ResultCache
from pytorch_to_mlx.service.job import Job
from pytorch_to_mlx.service.narration import narrate
from pytorch_to_mlx.service.narrator import AHEAD
from pytorch_to_mlx.service.script import Segment
from pytorch_to_mlx.service.speaking import Speaker, Spoken

CLOSE = 2e-4  # 16-bit samples beside floats


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for kind in ("custom-voice", "voice-design"):
        convert(write_model(f"qwen3_tts-1.7b-{kind}", folder / f"{kind}-source"), folder / kind, dtype="float32")
    return write_narrator(folder)


@pytest.fixture
def cache(tmp_path: Path) -> ResultCache:
    return ResultCache(tmp_path / "cache")


def heard(path: Path | str) -> np.ndarray:
    return Audio.read(path).samples


def test_voices_by_name(room: Path, tmp_path: Path) -> None:
    script = ["One.", {"text": "One.", "voice": "vivian"}, {"text": "One.", "voice": "nobody"}]
    told = Job(room / "custom-voice", voice="ryan", settings=SHORT)
    narration = narrate(script, tmp_path / "out", told, cache=ResultCache(tmp_path / "cache"))
    model = load(room / "custom-voice")
    for result, speaker in zip(narration.results, ("ryan", "vivian"), strict=False):
        assert result.path and not result.from_cache
        expected = model.synthesize("One.", speaker=speaker, **SHORT).samples
        np.testing.assert_allclose(heard(result.path), expected, atol=CLOSE)
    assert not np.array_equal(heard(tmp_path / "out" / "001.wav"), heard(tmp_path / "out" / "002.wav"))
    assert [result.id for result in narration.failed] == ["003"]
    told_of = "voice 'nobody': there is no such file, and it is none of the model's: eric, ryan, vivian"
    assert narration.results[2].error == told_of


def test_voices_by_description(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.json").write_text('["One.", "Two and two."]')
    given = (
        "-m",
        room / "voice-design",
        "--cache",
        tmp_path / "c",
        "--setting",
        "max_tokens=6",
        "-o",
        tmp_path / "out",
    )
    model = load(room / "voice-design")
    for instruct in ("An old man, calm and slow", "A child"):  # which is in the key
        assert run(monkeypatch, "narrate", tmp_path / "s.json", *given, "--setting", f"instruct={instruct}") == 0
        told = json.loads(capsys.readouterr().out)["segments"]
        assert not any(each["from_cache"] for each in told)
        for each, text in zip(told, ("One.", "Two and two."), strict=True):
            expected = model.synthesize(text, instruct=instruct, **SHORT).samples
            np.testing.assert_allclose(heard(each["path"]), expected, atol=CLOSE)
    assert run(monkeypatch, "narrate", tmp_path / "s.json", *given) == 1
    assert "describe the voice" in capsys.readouterr().err


def test_alike_lengths_are_said_together_and_delivered_in_order(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = [5, 1, 9, 3, 8, 2, 7, 4, 6]
    script = [{"id": f"long{length}", "text": "a" * length} for length in lengths]
    calls: list[list[str]] = []
    speak = Speaker.speak

    def recorded(self: Speaker, segments: Sequence[Segment]) -> list[Spoken]:
        calls.append([segment.id for segment in segments])
        return speak(self, segments)

    monkeypatch.setattr(Speaker, "speak", recorded)
    narration = narrate(script, tmp_path / "out", job(room), cache=ResultCache(tmp_path / "cache"))
    assert [len(call) for call in calls] == [AHEAD, AHEAD, 1]
    assert [set(call) for call in calls] == [
        {"long1", "long2", "long3", "long4"},
        {"long5", "long6", "long7", "long8"},
        {"long9"},
    ]
    assert [result.id for result in narration.results] == [f"long{length}" for length in lengths]
    model = load(room / "model")
    voice = model.prepare_voice(Audio.read(room / "anna.wav"))
    for result, length in zip(narration.results, lengths, strict=True):
        assert result.path and result.said == "a" * length
        if length in (1, 5, 9):
            expected = model.synthesize("a" * length, voice=voice, **SHORT).samples
            np.testing.assert_allclose(heard(result.path), expected, atol=CLOSE)


def test_chatterbox_says_one_after_the_other(
    tmp_path: Path, cache: ResultCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "chatterbox"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    model = small_chatterbox(folder)
    monkeypatch.setattr(speaking, "load", lambda path: model)
    drawn_voice().save(tmp_path / "anna.safetensors")
    told = Job(folder, voice=str(tmp_path / "anna.safetensors"), settings={"max_tokens": 8, "watermark": False})
    seen: list[str] = []
    first = narrate(
        SEGMENTS[:3], tmp_path / "out", told, cache=cache, progress=lambda result, segment: seen.append(result.id)
    )
    assert not first.failed, first.failed[0].error
    assert seen == ["s0", "s1", "s2"] and made(first) == seen
    alone = model.synthesize(TEXTS[1], voice=drawn_voice(), seed=0, max_tokens=8, watermark=False)
    np.testing.assert_allclose(Audio.read(tmp_path / "out" / "s1.wav").samples, alone.samples, atol=1 / 2**14)
    assert not made(narrate(SEGMENTS[:3], tmp_path / "again", told, cache=cache))
    named = narrate([{"text": "Hi.", "voice": "ryan"}], tmp_path / "named", told, cache=cache)
    assert named.failed[0].error == "voice 'ryan': there is no such file, and this model has no voices by name"


def test_voices_of_segments(room: Path, tmp_path: Path, cache: ResultCache) -> None:
    anna = str(room / "anna.wav")
    script = [
        {"id": "job", "text": "Hi."},
        {"id": "own", "text": "Hi.", "voice": anna},
        {"id": "heard", "text": "Hi.", "voice": anna, "ref_text": "what it says"},
    ]
    narration = narrate(script, tmp_path / "out", job(room, ref_text="what it says"), cache=cache)
    assert not narration.failed and len(made(narration)) == 2, "the job's and the last are the same"
    sounds = said(narration)
    assert sounds[0] == sounds[2] != sounds[1]
