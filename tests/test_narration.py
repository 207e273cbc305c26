"""Narration with a small Qwen3-TTS: resuming, failures, checks, audits."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_narration import RATE, SEGMENTS, SHORT, TEXTS, job, made, said, write_narrator
from small_ports import safetensors_file, voice_encoder_tensors

from pytorch_to_mlx import Audio, convert, load
from pytorch_to_mlx.audio.tempo import change_tempo
from pytorch_to_mlx.errors import FolderError, MissingDependencyError, UsageError
from pytorch_to_mlx.service import cache as service_cache
from pytorch_to_mlx.service import speaking
from pytorch_to_mlx.service.audit import mel_distance
from pytorch_to_mlx.service.cache import ResultCache
from pytorch_to_mlx.service.job import Job, SpeakerCheck
from pytorch_to_mlx.service.narration import narrate
from pytorch_to_mlx.service.speaking import Speaker
from pytorch_to_mlx.tasks import Utterance


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_narrator(tmp_path_factory.mktemp("narration"))


@pytest.fixture
def cache(tmp_path: Path) -> ResultCache:
    return ResultCache(tmp_path / "cache")


def quantized(room: Path) -> Path:
    if not (folder := room / "model-4bit").exists():
        convert(room / "source", folder, quantize=True, q_bits=4, q_group_size=32)
    return folder


def test_segments_at_once_are_what_they_are_alone(room: Path) -> None:
    model = load(room / "model")
    voices = [model.prepare_voice(Audio.read(room / "anna.wav"), text) for text in (None, "what it says")]
    asked = [Utterance(text, voice=voices[n % 2], seed=n) for n, text in enumerate(TEXTS)]
    together = model.synthesize_all(asked, **SHORT)
    for utterance, sound in zip(asked, together, strict=True):
        alone = model.synthesize(utterance.text, voice=utterance.voice, seed=utterance.seed, **SHORT)
        np.testing.assert_allclose(sound.samples, alone.samples, atol=1e-4)
    assert len({sound.samples.tobytes() for sound in together}) == len(TEXTS)


def test_each_line_is_computed_once(room: Path, tmp_path: Path, cache: ResultCache) -> None:
    first = narrate(SEGMENTS, tmp_path / "out", job(room), cache=cache)
    assert made(first) == [f"s{n}" for n in range(5)] and not first.failed
    (fields, *_) = first.as_json()["segments"]
    assert {"id", "path", "duration", "sample_rate", "from_cache", "seconds"} <= fields.keys()
    heard = Audio.read(fields["path"])
    assert (fields["sample_rate"], fields["duration"]) == (heard.rate, heard.seconds) == (RATE, fields["duration"])
    assert first.results[4].said == "Five five kilograms."
    again = narrate(SEGMENTS, tmp_path / "again", job(room), cache=cache)
    assert not made(again) and said(again) == said(first)
    assert again.results[4].said == "Five five kilograms." and again.results[0].about == first.results[0].about


def test_all_that_matters_is_in_the_key(
    room: Path, tmp_path: Path, cache: ResultCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrate(["One."], tmp_path / "out", job(room), cache=cache)
    ben = Audio(Audio.read(room / "anna.wav").samples[::-1], RATE)
    ben.write(tmp_path / "ben.wav")
    others = [
        job(room, seed=1),
        job(room, voice=str(tmp_path / "ben.wav")),
        job(room, ref_text="what it says"),
        job(room, language="english"),
        job(room, speed=1.5),
        job(room, settings={"max_tokens": 5}),
        job(room, checks=[SpeakerCheck(-1)]),
        job(room, suffix=".flac"),
    ]
    for other in others:
        assert made(narrate(["One."], tmp_path / "out", other, cache=cache)) == ["001"]
    assert not made(narrate(["  One. "], tmp_path / "out", job(room), cache=cache))
    moved = tmp_path / "moved"
    shutil.copytree(room / "model", moved)
    assert not made(narrate(["One."], tmp_path / "out", job(room, model=moved), cache=cache)), "the same bytes"
    config = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps(config, indent=1))
    assert made(narrate(["One."], tmp_path / "out", job(room, model=moved), cache=cache)) == ["001"]
    assert made(narrate(["One. 1"], tmp_path / "out", job(room), cache=cache)) == ["001"]
    assert made(narrate(["One. 1"], tmp_path / "out", job(room, normalize=False), cache=cache)) == ["001"]
    assert not made(narrate(["One. one"], tmp_path / "out", job(room), cache=cache)), "the same is said"
    with monkeypatch.context() as patch:
        patch.setattr(speaking, "version", lambda name: "9.9")
        assert made(narrate(["One."], tmp_path / "out", job(room), cache=cache)) == ["001"]
    with monkeypatch.context() as patch:
        patch.setattr(speaking, "REVISION", speaking.REVISION + 1)
        assert made(narrate(["One."], tmp_path / "out", job(room), cache=cache)) == ["001"]
    (tmp_path / "copy.wav").write_bytes((room / "anna.wav").read_bytes())
    assert not made(narrate(["One."], tmp_path / "out", job(room, voice=str(tmp_path / "copy.wav")), cache=cache))
    assert not made(narrate(["One.", "One."], tmp_path / "out", job(room), cache=cache))
    assert len(made(narrate(["Two.", "Two."], tmp_path / "out", job(room), cache=cache))) == 1, "one is the other"


def test_what_fails_is_told_and_the_others_delivered(room: Path, tmp_path: Path, cache: ResultCache) -> None:
    script = [*SEGMENTS[:2], {"id": "bad", "text": "Hi.", "voice": "absent.wav"}, {"id": "dots", "text": "(...)"}]
    narration = narrate(script, tmp_path / "out", job(room), cache=cache)
    assert [result.id for result in narration.failed] == narration.as_json()["failed"] == ["bad", "dots"]
    assert "absent.wav" in narration.results[2].error and "no text to say" in narration.results[3].error
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"s0.wav", "s1.wav"}


def test_one_that_fails_spoils_no_other(
    room: Path, tmp_path: Path, cache: ResultCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    speak = Speaker.speak

    def failing(self: Speaker, segments: Sequence[Any]) -> Any:
        sizes.append(len(segments))
        if any(segment.id == "s1" for segment in segments):
            raise ValueError("what nobody thought of")
        return speak(self, segments)

    monkeypatch.setattr(Speaker, "speak", failing)
    narration = narrate(SEGMENTS[:3], tmp_path / "out", job(room), cache=cache)
    assert sizes == [3, 1, 1, 1] and [result.id for result in narration.failed] == ["s1"]
    assert "ValueError: what nobody thought of" in narration.results[1].error


def test_where_memory_does_not_suffice_the_fallback_speaks(
    room: Path, tmp_path: Path, cache: ResultCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    speak, small = Speaker.speak, quantized(room)

    def limited(self: Speaker, segments: Sequence[Any]) -> Any:
        if self.job.model != small and any(len(segment.text) > 20 for segment in segments):
            raise RuntimeError("[metal::malloc] Attempting to allocate 9 bytes which is greater than the maximum")
        return speak(self, segments)

    monkeypatch.setattr(Speaker, "speak", limited)
    alone = narrate(SEGMENTS, tmp_path / "out", job(room), cache=cache)
    assert [result.id for result in alone.failed] == ["s3"] and "--fallback-model" in alone.results[3].error
    helped = narrate(SEGMENTS, tmp_path / "out", job(room, fallback=small), cache=cache)
    assert not helped.failed
    assert [result.id for result in helped.results if result.about.get("fallback")] == ["s3"]


def test_speech_unlike_its_voice_is_said_again(
    room: Path, tmp_path: Path, cache: ResultCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[list[int]] = []
    sounds = Speaker._sounds

    def recorded(self: Speaker, utterances: Sequence[Utterance]) -> list[Audio]:
        seeds.append([each.seed for each in utterances])
        return sounds(self, utterances)

    with monkeypatch.context() as patch:
        patch.setattr(Speaker, "_sounds", recorded)
        strict = narrate(SEGMENTS[:2], tmp_path / "strict", job(room, checks=[SpeakerCheck(1.0)]), cache=cache)
    assert [result.about["attempts"] for result in strict.results] == [3, 3] and len(strict.failed) == 2
    assert [len(set(each)) for each in seeds] == [1, 1, 1] and len({each[0] for each in seeds}) == 3, "other seeds"
    model = load(room / "model")
    voice = model.prepare_voice(Audio.read(room / "anna.wav"))
    for result, text in zip(strict.results, TEXTS, strict=False):
        alone = model.synthesize(text, voice=voice, seed=result.about["seed"], **SHORT)
        assert result.path and result.about["seed"] in {each[0] for each in seeds}
        np.testing.assert_allclose(Audio.read(result.path).samples, alone.samples, atol=2e-4)
    assert all(path.exists() for path in (tmp_path / "strict" / f"s{n}.wav" for n in range(2))), (
        "delivered all the same"
    )
    once = narrate(SEGMENTS[:2], tmp_path / "once", job(room, checks=[SpeakerCheck(1.0)], retries=0), cache=cache)
    for best, first in zip(strict.results, once.results, strict=True):
        assert best.about["similarity"] >= first.about["similarity"] and first.about["attempts"] == 1
    least = min(result.about["similarity"] for result in once.results)
    lenient = narrate(SEGMENTS[:2], tmp_path / "l", job(room, checks=[SpeakerCheck(least - 1e-3)]), cache=cache)
    assert not lenient.failed and {result.about["attempts"] for result in lenient.results} == {1}
    with pytest.raises(UsageError, match="--check speaker compares with recordings"):
        narrate(["Hi."], tmp_path / "u", job(room, voice=None, checks=[SpeakerCheck()]), cache=cache)


def test_an_audit_tells_how_far_from_full_precision(room: Path, tmp_path: Path, cache: ResultCache) -> None:
    same = narrate(SEGMENTS, tmp_path / "out", job(room), cache=cache, audit_share=0.5)
    told = same.as_json()["audit"]
    assert len(told["segments"]) == 2 and told["largest"] < 0.5, "16-bit samples beside floats"
    small = quantized(room)
    with pytest.raises(UsageError, match=r"quantized.*--audit-model"):
        narrate(SEGMENTS, tmp_path / "q", job(room, model=small), cache=cache, audit_share=1.0)
    other = narrate(
        SEGMENTS, tmp_path / "q", job(room, model=small), cache=cache, audit_share=1.0, audit_model=room / "model"
    ).as_json()["audit"]
    assert len(other["segments"]) == 5 and other["mean"] > 4 * told["mean"]


def test_the_distance_of_recordings() -> None:
    generator = np.random.default_rng(0)
    times = np.arange(RATE) / RATE
    tone = Audio((0.3 * np.sin(2 * np.pi * (200 + 100 * times) * times)).astype(np.float32), RATE)
    hiss = Audio(generator.normal(0, 0.1, RATE).astype(np.float32), RATE)
    slower = Audio(change_tempo(tone.samples, RATE, 0.8), RATE)
    assert mel_distance(tone, tone) == 0 and mel_distance(tone, slower) < mel_distance(tone, hiss) / 3
    held = Audio(np.concatenate([tone.samples[:12000], np.zeros(4800, np.float32), tone.samples[12000:]]), RATE)
    assert 0 < mel_distance(tone, held) < mel_distance(tone, hiss) / 2
    assert mel_distance(tone, hiss) > 10


def test_speed_changes_duration_and_not_pitch(room: Path, tmp_path: Path, cache: ResultCache) -> None:
    script = [{"id": "plain", "text": "Two."}, {"id": "fast", "text": "Two.", "speed": 2.0}]
    plain, fast = narrate(script, tmp_path / "out", job(room), cache=cache).results
    assert abs(plain.duration / fast.duration - 2) < 0.01


def narrated_elsewhere(room: Path, output: Path, cache: Path) -> list[str]:
    return made(narrate(SEGMENTS, output, job(room), cache=ResultCache(cache)))


def test_eight_processes_compute_each_line_once(room: Path, tmp_path: Path) -> None:
    with ProcessPoolExecutor(8, get_context("spawn")) as pool:
        asked = [pool.submit(narrated_elsewhere, room, tmp_path / f"out{n}", tmp_path / "cache") for n in range(8)]
        computed = [id_ for each in asked for id_ in each.result(timeout=300)]
    assert sorted(computed) == [f"s{n}" for n in range(5)]
    sounds = {tuple((tmp_path / f"out{n}" / f"s{i}.wav").read_bytes() for i in range(5)) for n in range(8)}
    assert len(sounds) == 1


def test_a_killed_job_goes_on_where_it_stopped(room: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps([f"Line number {n} of the script." for n in range(40)]))
    words = [sys.executable, "-m", "pytorch_to_mlx", "narrate", script, "-m", room / "model", "-o", tmp_path / "out"]
    words += ["--voice", room / "anna.wav", "--cache", tmp_path / "cache", "--setting", "max_tokens=12"]
    process = subprocess.Popen(list(map(str, words)), stdout=subprocess.DEVNULL)
    while len(list((tmp_path / "out").glob("*.wav"))) < 5:  # the last of them may not be in the cache yet
        assert process.poll() is None, "ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {entry.key for entry in ResultCache(tmp_path / "cache").entries()}
    assert 4 <= len(before) < 40
    told = json.loads(subprocess.run(list(map(str, words)), stdout=subprocess.PIPE, check=True, timeout=300).stdout)
    assert sum(each["from_cache"] for each in told["segments"]) == len(before)
    assert len(ResultCache(tmp_path / "cache").entries()) == 40 and told["failed"] == []


def test_silence_is_nobodys_voice(
    room: Path, tmp_path: Path, cache: ResultCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    silence = Audio(np.zeros(RATE, np.float32), RATE)
    monkeypatch.setattr(Speaker, "_sounds", lambda self, utterances: [silence for _ in utterances])
    narration = narrate(["Hi."], tmp_path / "out", job(room, checks=[SpeakerCheck(-1)], retries=1), cache=cache)
    assert narration.failed and narration.results[0].about["similarity"] == -1


def test_another_encoder_checks(room: Path, tmp_path: Path, cache: ResultCache) -> None:
    encoder = tmp_path / "encoder"
    convert(safetensors_file(tmp_path / "ve.safetensors", voice_encoder_tensors()), encoder)
    told = SpeakerCheck(-1, encoder=encoder)
    script = ["It takes a while until there is enough of a voice to tell it from others."]
    asked = job(room, checks=[told], settings={"max_tokens": 40})
    narration = narrate(script, tmp_path / "out", asked, cache=cache)
    assert not narration.failed, narration.failed[0].error
    heard, reference = (Audio.read(path) for path in (tmp_path / "out" / "001.wav", room / "anna.wav"))
    encode = load(encoder)
    expected = encode.similarity(encode.embed(heard), encode.embed(reference))
    assert abs(narration.results[0].about["similarity"] - expected) < 5e-3
    with pytest.raises(UsageError, match="holds no speaker encoder"):
        narrate(script, tmp_path / "o", job(room, checks=[replace(told, encoder=room / "model")]), cache=cache)
    with pytest.raises(UsageError, match="hears recordings"):
        narrate(script, tmp_path / "o", replace(asked, voice="anna.safetensors"), cache=cache)


def test_a_model_that_is_too_large_falls_back(
    room: Path, tmp_path: Path, cache: ResultCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = quantized(room)

    def load_or_not(folder: Path) -> Any:
        if folder != small:
            raise RuntimeError("[metal::malloc] Attempting to allocate more than there is")
        return load(folder)

    monkeypatch.setattr(speaking, "load", load_or_not)
    monkeypatch.setattr(service_cache, "_lock_of", lambda key: "all")  # a claim that is held would wait for itself
    helped = narrate(SEGMENTS, tmp_path / "out", job(room, fallback=small), cache=cache)
    assert not helped.failed and all(result.about["fallback"] for result in helped.results)
    alone = narrate(SEGMENTS, tmp_path / "out", job(room), cache=cache)
    assert len(alone.failed) == 5 and "out of memory" in alone.results[0].error
    with pytest.raises(FolderError, match="absent: holds no converted model"):
        narrate(SEGMENTS, tmp_path / "out", job(room, fallback=tmp_path / "absent"), cache=cache)
    wrong = tmp_path / "wrong"
    convert(safetensors_file(tmp_path / "ve.safetensors", voice_encoder_tensors()), wrong)
    monkeypatch.setattr(speaking, "load", lambda folder: load(folder) if folder == wrong else load_or_not(folder))
    told = narrate(SEGMENTS, tmp_path / "out", job(room, fallback=wrong), cache=cache)
    assert len(told.failed) == 5 and "--fallback-model: " in told.results[0].error


def test_a_missing_library_is_told_once(
    room: Path, tmp_path: Path, cache: ResultCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(text: str, language: str | None) -> str:
        raise MissingDependencyError("numbers in words need wetext")

    monkeypatch.setattr(speaking, "_normalised", lacking)
    with pytest.raises(MissingDependencyError):
        narrate(SEGMENTS, tmp_path / "out", job(room), cache=cache)
    assert not narrate(SEGMENTS[:1], tmp_path / "out", job(room, normalize=False), cache=cache).failed


def test_a_cache_that_keeps_nothing_loses_no_sound(
    room: Path, tmp_path: Path, cache: ResultCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = ResultCache(tmp_path / "tiny", limit=1)
    assert not narrate(SEGMENTS, tmp_path / "out", job(room), cache=tiny).failed
    assert len(tiny.entries()) == 1 and len(list((tmp_path / "out").glob("s*.wav"))) == 5

    def full(*given: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ResultCache, "store", full)
    narration = narrate(SEGMENTS, tmp_path / "full", job(room), cache=cache)
    assert not narration.failed and "No space left" in narration.results[0].about["uncached"]


def test_folders_that_hold_no_model(tmp_path: Path, cache: ResultCache, room: Path) -> None:
    with pytest.raises(FolderError, match="holds no converted model"):
        narrate(["Hi."], tmp_path / "out", Job(tmp_path), cache=cache)
    with pytest.raises(FolderError, match="cannot be a folder"):
        narrate(["Hi."], room / "anna.wav", replace(job(room)), cache=cache)
