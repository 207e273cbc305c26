"""`narrate --check words` on the command line, and with a small Whisper."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_room import run
from small_narration import write_narrator
from small_whisper import write_package, write_source
from told_room import RATE, Room, made_room

from pytorch_to_mlx import Audio, convert, load
from pytorch_to_mlx.models.whisper.model import WhisperModel
from pytorch_to_mlx.service.cache import ResultCache
from pytorch_to_mlx.service.job import Job, WordsCheck
from pytorch_to_mlx.service.narration import narrate
from pytorch_to_mlx.tasks import Transcript
from pytorch_to_mlx.text.error_rate import error_rate


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    return made_room(tmp_path, monkeypatch)


REFUSED = {
    "no recogniser": (("--check", "words"), "--check words needs a recogniser: give a converted Whisper with --asr"),
    "no check": (("--asr", "asr"), "--asr asr is for --check words: add it, or leave out --asr"),
    "no check for a rate": (("--check", "speaker", "--max-wer", "0.2"), "--max-wer 0.2 is for --check words: add it"),
    "no check for a cosine": (("--threshold", "0.5"), "--threshold 0.5 is for --check speaker: add it"),
    "no check for an encoder": (
        ("--check", "words", "--asr", "asr", "--speaker-encoder", "asr"),
        "--speaker-encoder asr is for --check speaker: add it, or leave out --speaker-encoder",
    ),
    "another check": (("--check", "speaker", "--asr", "asr"), "is for --check words"),
    "unknown": (("--check", "speaker,pitch"), "--check pitch: there are speaker and words"),
    "per cent": (("--check", "words", "--asr", "asr", "--max-wer", "5"), "--max-wer 5 is not within 0 to 1"),
    "retries": (("--check", "words", "--asr", "asr", "--retries", "99"), "--retries 99 is not within 0 to 20"),
    "absent": (("--check", "words", "--asr", "absent"), "--asr: absent"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(
    room: Room, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    monkeypatch.chdir(room.folder)
    Path("s.txt").write_text("Hello.")
    given, message = REFUSED[case]
    assert run(monkeypatch, "narrate", "s.txt", "-m", "model", "-o", "out", "--cache", "cache", *given) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("named", [("--check", "words,speaker"), ("--check", "words", "--check", "speaker")])
def test_on_the_command_line(
    room: Room, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], named: tuple[str, ...]
) -> None:
    monkeypatch.chdir(room.folder)
    Path("s.json").write_text(json.dumps(["One two three.", "Four five.", "♪"]))
    Audio(np.ones(RATE, np.float32), RATE).write("anna.wav")
    room.heard["One two three."], room.alike["Four five."] = ["one two tree"], [0.5]
    given = ("s.json", "-m", "model", "-o", "out", "--cache", "cache", "--voice", "anna.wav", *named, "--asr", "asr")
    assert run(monkeypatch, "narrate", *given, "--retries", "1", "--max-wer", "0.3") == 1
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told["failed"] == ["001", "002"] and told["unchecked"] == ["003"]
    assert [each["wer"] for each in told["segments"]] == [0.3333, 0.0, None]
    assert [each["attempts"] for each in told["segments"]] == [2, 2, 1]
    assert "segment 001: word error rate 0.3333, above --max-wer 0.3\n" in err
    assert "segment 002: likeness 0.5000 to its voice, below --threshold 0.7\n" in err
    assert "segment 003: no words to compare\n" in err
    assert run(monkeypatch, "narrate", *given, "--threshold", "0.4", "--max-wer", "0.4") == 0


def test_a_small_whisper_hears(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(write_package(tmp_path_factory.mktemp("package"))))
    convert(write_source(tmp_path / "source-of-asr"), tmp_path / "asr")
    write_narrator(tmp_path)
    heard: list[tuple[Audio, Transcript]] = []
    transcribe = WhisperModel.transcribe

    def noted(self: WhisperModel, audio: Any, **given: Any) -> Transcript:
        heard.append((audio, transcribe(self, audio, **given)))
        return heard[-1][1]

    monkeypatch.setattr(WhisperModel, "transcribe", noted)
    asked = [WordsCheck(tmp_path / "asr")]
    job = Job(tmp_path / "model", voice=str(tmp_path / "anna.wav"), settings={"max_tokens": 6}, checks=asked, retries=1)
    script = [{"text": "Hello.", "language": "english"}]
    (result,) = narrate(script, tmp_path / "out", job, cache=ResultCache(tmp_path / "cache")).results
    assert not result.error and not result.passed and len(heard) == 2, "a seeded Whisper babbles"
    rates = [error_rate("Hello.", each.text, "en") for _, each in heard]
    assert result.about["wer"] == pytest.approx(min(rate.value for rate in rates if rate), abs=1e-4)
    best = int(np.argmin([rate.value for rate in rates if rate]))
    assert result.about["transcript"] == heard[best][1].text.strip() and result.about["transcript_language"] == "en"
    monkeypatch.undo()
    assert load(tmp_path / "asr").transcribe(heard[best][0], language="en").text.strip() == result.about["transcript"]
