"""`transcribe` on the command line: files, formats, detectors of speech, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import soundfile
from cli_room import command, run, succeed
from small_ports import SEED
from small_whisper import converted

from pytorch_to_mlx import Audio, load
from pytorch_to_mlx.cli.hearing import hear, write_all
from pytorch_to_mlx.cli.transcribe import _temperatures
from pytorch_to_mlx.errors import UsageError
from pytorch_to_mlx.models.whisper.languages import known_code
from pytorch_to_mlx.models.whisper.model import WhisperModel
from pytorch_to_mlx.presentation.transcripts import Layout
from pytorch_to_mlx.service.kept import Kept
from pytorch_to_mlx.service.voice_activity import FOR_TRANSCRIPTION, find_speech
from pytorch_to_mlx.tasks import Transcript

RATE = 16000
GREEDY: dict[str, Any] = {"language": "en", "temperature": (0.0,), "sample_len": 24}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return converted(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def model(folder: Path) -> WhisperModel:
    return load(folder)


def speech(seed: int, seconds: float) -> Audio:
    return Audio(SEED.speechlike(seed, seconds, RATE), RATE)


def test_transcribe_prints_and_writes(folder: Path, tmp_path: Path) -> None:
    speech(1, 3.0).write(tmp_path / "one.wav")
    speech(2, 3.0).write(tmp_path / "two.wav")
    files = [str(tmp_path / name) for name in ("one.wav", "two.wav")]
    options = ["--language", "en", "--temperature-increment-on-fallback", "0"]
    said = succeed("transcribe", str(folder), *files, *options, "-o", str(tmp_path / "out"), "-f", "srt,json")
    assert said.count(" --> ") >= 2 and "one.wav:" in said
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.json", "one.srt", "two.json", "two.srt"]
    told = json.loads(succeed("transcribe", str(folder), files[0], *options, "--json"))
    written = json.loads((tmp_path / "out" / "one.json").read_text())
    assert told[files[0]]["text"] == written["text"] and written["language"] == "en"


def test_files_are_heard_together_where_somebody_speaks(model: WhisperModel, tmp_path: Path) -> None:
    def loud(frames: mx.array, h: mx.array, c: mx.array) -> tuple[mx.array, mx.array, mx.array]:
        return (mx.abs(frames).max(axis=1) > 1e-3).astype(mx.float32), h, c

    said = [speech(1, 3.0), speech(2, 3.0)]
    silence = np.zeros(20 * 16000, np.float32)
    sounds = [np.concatenate([silence, each.samples, silence]) for each in said]
    paths = [tmp_path / f"{name}.wav" for name in ("one", "silent", "two")]
    for path, samples in zip(paths, [sounds[0], silence, sounds[1]], strict=True):
        Audio(samples, 16000).write(path)
    settings = {name: value for name, value in GREEDY.items() if name != "language"}
    lengths = {0: 43.0, 1: 20.0, 2: 43.0}
    found = dict(hear(model, paths, lengths, loud, "english", 0, settings, live=False))
    one, silent, two = (found[place] for place in range(3))
    assert isinstance(one, Transcript) and isinstance(silent, Transcript) and isinstance(two, Transcript)
    assert silent.text == "" and silent.segments == () and silent.language == "en" == one.language
    for found, sound in ((one, sounds[0]), (two, sounds[1])):
        kept = Kept(find_speech(loud, Audio(sound, 16000), FOR_TRANSCRIPTION))
        alone = model.transcribe(kept.join(Audio(sound, 16000)), **GREEDY)
        assert found.text == alone.text and found.text
        assert 19 < found.segments[0].start < 23.5


QUICK = ("--language", "en", "--temperature-increment-on-fallback", "none")


def test_files_that_are_none_are_told_and_cost_no_other(folder: Path, tmp_path: Path) -> None:
    speech(1, 1.0).write(tmp_path / "one.wav")
    (tmp_path / "two.wav").write_text("no sound")
    files = [str(tmp_path / name) for name in ("none.wav", "one.wav", "two.wav")]
    done = command("transcribe", str(folder), *files, *QUICK)
    assert done.returncode == 1 and "one.wav:" in done.stdout
    none, two = done.stderr.splitlines()
    assert none == f"pytorch-to-mlx: {files[0]}: no such file" and f"cannot read {files[2]} as audio" in two
    alone = command("transcribe", str(folder), files[0])
    assert (alone.returncode, alone.stdout, alone.stderr) == (2, "", f"{none}\n")


def test_a_transcript_that_cannot_be_written_costs_no_other(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "one.srt").mkdir(parents=True)
    for name in ("one", "two"):
        speech(1, 1.0).write(tmp_path / f"{name}.wav")
    files = [str(tmp_path / f"{name}.wav") for name in ("one", "two")]
    done = command("transcribe", str(folder), *files, *QUICK, "-o", str(out), "-f", "srt,txt")
    assert done.returncode == 1 and "two.wav:" in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"pytorch-to-mlx: {out / 'one.srt'}: cannot be written")
    assert sorted(path.name for path in out.iterdir()) == ["one.srt", "one.txt", "two.srt", "two.txt"]
    (problem,) = write_all(Transcript("", "en", ()), [out / "one.srt", out / "three.srt"], Layout())
    assert "one.srt" in str(problem) and (out / "three.srt").is_file()


def test_a_format_without_a_folder_is_written_here(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    speech(1, 1.0).write(tmp_path / "one.wav")
    asked = ["--task", "translate", "--word-timestamps", "--temperature-increment-on-fallback", "None"]
    done = command("transcribe", str(folder), "one.wav", *asked, "--no-speech-threshold", "NONE", "-f", "vtt")
    assert done.returncode == 0 and sorted(path.name for path in tmp_path.iterdir()) == ["one.vtt", "one.wav"]
    warned, heard = done.stderr.splitlines()
    assert "times of a translation's words may not be reliable" in warned
    assert heard.startswith("one.wav: detected language: ") and len(heard.split()[-1]) in (2, 3)


def test_temperatures_to_try() -> None:
    assert np.allclose(_temperatures(0.0, 0.2), (0.0, 0.2, 0.4, 0.6, 0.8, 1.0))
    assert _temperatures(0.2, None) == _temperatures(0.2, 0.0) == (0.2,) and _temperatures(1.5, 0.2) == (1.5,)
    assert len(_temperatures(0.0, 0.0102)) == 99


def test_a_damaged_file_costs_no_other(folder: Path, tmp_path: Path) -> None:
    names = [f"{number}.wav" for number in range(6)]
    for number, name in enumerate(names):
        speech(number, 2.0).write(tmp_path / name)
    samples = speech(9, 2.0).samples.copy()
    samples[20000] = np.nan
    soundfile.write(tmp_path / "1.wav", samples, RATE, subtype="FLOAT")
    options = ["--language", "en", "--temperature-increment-on-fallback", "0", "-o", str(tmp_path / "out"), "--json"]
    done = command("transcribe", str(folder), *(str(tmp_path / name) for name in names), *options)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "1.wav: the recording has samples that are not finite numbers" in line
    rest = [name for name in names if name != "1.wav"]
    assert sorted(json.loads(done.stdout)) == [str(tmp_path / name) for name in rest]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{name[0]}.txt" for name in rest]


def test_transcripts_are_handed_over_as_they_are_done(model: WhisperModel) -> None:
    """A short recording waits for no long one, and one that has not begun takes its place."""
    recordings = [speech(1, 95.0), *(speech(seed, 2.0) for seed in (2, 3, 4, 5, 6))]
    found = dict(model.transcripts(recordings, **GREEDY))
    assert next(reversed(found)) == 0 and sorted(found) == [*range(6)]
    together = [found[place] for place in range(6)]
    alone = [model.transcribe(each, **GREEDY).text for each in recordings]
    assert [each.text for each in together if isinstance(each, Transcript)] == alone


def test_an_array_tells_no_rate(model: WhisperModel) -> None:
    samples: Any = speech(1, 1.0).samples
    with pytest.raises(UsageError, match=r"give Audio\(samples, rate\)"):
        model.transcribe(samples)
    assert model.transcribe([samples], **GREEDY).text == model.transcribe(Audio(samples, RATE), **GREEDY).text


@pytest.mark.parametrize(
    ("given", "code"),
    [("en_US", "en"), ("zh-Hant-TW", "zh"), ("es-419", "es"), ("Castilian", "es"), ("no", "no"), ("no-such", None)],
)
def test_languages_by_code_name_and_region(given: str, code: str | None) -> None:
    assert known_code(given, 99) == code


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-f", "doc"], "--format doc: there are txt, srt, vtt, tsv, json and all"),
        (["-f", "srt, Doc"], "--format doc: there are"),
        (["--word-timestamps", "True"], "True: no such file, and no switch takes a value"),
        (["--max-line-width", "20"], "add --word-timestamps"),
        (["--clip-timestamps", "a"], "--clip-timestamps a: numbers, by commas"),
        (["--clip-timestamps", "1,,2"], "--clip-timestamps 1,,2: numbers, by commas"),
        (["--suppress-tokens", "60000"], "--suppress-tokens 60000: this model has 51865 tokens, the last is 51864"),
        (["--suppress-tokens", "-2"], "--suppress-tokens (-2,) must be numbers of tokens"),
        (["--temperature", "nan"], "--temperature nan must be 0 or more"),
        (["--temperature-increment-on-fallback", "nan"], "--temperature-increment-on-fallback nan must be above 0"),
        (["--temperature-increment-on-fallback", "-1"], "--temperature-increment-on-fallback -1 must be above 0"),
        (["--temperature-increment-on-fallback", "1e-9"], "1e-09 would try more than 100 temperatures"),
        (["--beam-size", "5", "--patience", "inf"], "--patience inf must be above 0, 100 at most"),
        (["--beam-size", "1000"], "--beam-size 1000 must be 1 or more, 100 at most"),
        (["--best-of", "1000000"], "--best-of 1000000 must be 1 or more, 100 at most"),
        (["--logprob-threshold", "low"], "'--logprob-threshold': 'low' is neither a number nor none"),
        (["--logprob-threshold", "nan"], "--logprob-threshold nan must be a number"),
        (["--vad", "nowhere"], "nowhere holds no detector of speech"),
        (["--vad", "nowhere", "--clip-timestamps", "1,2"], "seconds that --vad would leave out"),
    ],
)
def test_transcribe_refuses(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    speech(1, 1.0).write(tmp_path / "one.wav")
    assert run(monkeypatch, "transcribe", folder, tmp_path / "one.wav", *options) == 2
    told = capsys.readouterr().err
    assert message in told and len(told.splitlines()) == 1
