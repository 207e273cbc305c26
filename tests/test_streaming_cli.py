"""`transcribe --stream` in processes of its own: what comes through pipes, what is printed and written, Ctrl-C."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from cli_room import Arguments, Done, command, run
from small_ports import SEED
from small_whisper import converted

from pytorch_to_mlx import Audio
from pytorch_to_mlx.cli import streaming as verb
from pytorch_to_mlx.presentation.transcripts import Layout
from pytorch_to_mlx.service import streaming as service
from pytorch_to_mlx.service.agreement import Said
from pytorch_to_mlx.service.streaming import Piece
from pytorch_to_mlx.tasks import Word

RATE = 16000
FAST = ("--language", "en", "--temperature-increment-on-fallback", "0", "--no-condition-on-previous-text")
SECONDS = 4.5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return converted(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def sound() -> Audio:
    # What raw samples hold, files hold: hypotheses are then the same.
    exact = np.round(SEED.speechlike(1, SECONDS, RATE) * 2**15).clip(-(2**15), 2**15 - 1)
    return Audio((exact / 2**15).astype(np.float32), RATE)


def raw(sound: Audio) -> bytes:
    return (sound.samples * 2**15).astype("<i2").tobytes()


def piped(folder: Path, data: bytes, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    words = [sys.executable, "-m", "pytorch_to_mlx", "transcribe", str(folder), "--stream", "-", *FAST]
    return subprocess.run([*words, *map(str, arguments)], input=data, capture_output=True, timeout=120)


def lines(output: str | bytes) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The pieces and the summary."""
    *pieces, last = [json.loads(line) for line in output.splitlines()]
    return pieces, last["summary"]


@pytest.fixture(scope="module")
def of_file(folder: Path, sound: Audio, tmp_path_factory: pytest.TempPathFactory) -> tuple[Done, Path]:
    room = tmp_path_factory.mktemp("file")
    sound.write(room / "talk.wav")
    options: Arguments = (
        "--json",
        "--step",
        "1.5",
        "-o",
        room / "out",
        "-f",
        "txt,json,srt",
        "--max-words-per-line",
        "1",
    )
    return command("transcribe", folder, "--stream", room / "talk.wav", *FAST, *options), room


def test_a_file_is_heard_as_if_it_were_spoken(of_file: tuple[Done, Path]) -> None:
    done, _ = of_file
    assert done.returncode == 0, done.stderr
    pieces, summary = lines(done.stdout)
    words = [word for piece in pieces for word in piece["words"]]
    assert pieces and summary["words"] == len(words) and summary["language"] == "en"
    times = [time for word in words for time in (word["start"], word["end"])]
    assert times == sorted(times) and times[0] >= 0 and times[-1] <= SECONDS
    for piece in pieces:
        assert piece["text"] == "".join(word["word"] for word in piece["words"])
        assert (piece["start"], piece["end"]) == (piece["words"][0]["start"], piece["words"][-1]["end"])
        heard = {round(word["end"] + word["delay"], 2) for word in piece["words"]}
        assert heard <= {3.0, SECONDS} and len(heard) == 1  # a step can confirm nothing before the second
        delay = sum(word["delay"] for word in piece["words"]) / len(piece["words"])
        assert piece["latency"] == pytest.approx(delay + piece["computation"], abs=0.01) and piece["waiting"] == 0
    delays = sorted(word["delay"] for word in words)
    assert summary["latency"]["delay"]["mean"] == pytest.approx(sum(delays) / len(delays), abs=0.002)
    assert f"latency of {len(words)} words: " in done.stderr and "90 % within" in done.stderr


def test_files_are_written_of_confirmed_words(of_file: tuple[Done, Path]) -> None:
    done, room = of_file
    pieces, _ = lines(done.stdout)
    told = json.loads((room / "out" / "talk.json").read_text())
    assert told["text"] == "".join(piece["text"] for piece in pieces)
    assert [word["word"] for segment in told["segments"] for word in segment["words"]] == [
        word["word"] for piece in pieces for word in piece["words"]
    ]
    assert (room / "out" / "talk.txt").read_text().split() == told["text"].split()
    assert (room / "out" / "talk.srt").read_text().count(" --> ") == sum(len(s["words"]) for s in told["segments"])


def test_a_pipe_is_heard_to_its_end(folder: Path, sound: Audio, tmp_path: Path) -> None:
    done = piped(folder, raw(sound), "--step", "5", "-o", tmp_path)
    assert done.returncode == 0 and b"latency of " in done.stderr, done.stderr
    assert done.stdout.startswith(b"[00:0") and b" --> " in done.stdout
    # There is one step, the last, and it confirms everything.
    assert len(done.stdout.splitlines()) == 1
    said = (tmp_path / "stdin.txt").read_text().split()
    assert said and done.stdout.decode().partition("] ")[2].split() == said


def test_wav_and_raw_samples_say_the_same(folder: Path, sound: Audio, tmp_path: Path) -> None:
    sound.write(tmp_path / "a.wav")
    outputs = [
        piped(folder, data, "--step", "5").stdout
        for data in ((tmp_path / "a.wav").read_bytes(), raw(sound), raw(sound) + b"\x01")
    ]
    assert outputs[0] and outputs[0] == outputs[1] == outputs[2]


def test_words_come_while_the_pipe_is_open_and_ctrl_c_ends_it(folder: Path, sound: Audio, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "pytorch_to_mlx", "transcribe", str(folder), "--stream", "-", *FAST]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen([*words, "-o", str(tmp_path)], stdin=-1, stdout=-1, stderr=-1, env=environment)
    assert process.stdin and process.stdout and process.stderr
    watch = threading.Timer(60, process.kill)
    watch.start()
    try:
        os.set_blocking(process.stdout.fileno(), False)
        first = b""
        for _ in range(20):  # seeded weights agree with themselves only now and then
            process.stdin.write(raw(sound))
            process.stdin.flush()
            time.sleep(0.4)
            if first := process.stdout.read() or b"":
                break
        os.set_blocking(process.stdout.fileno(), True)
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait() == 0, process.stderr.read()
    finally:
        watch.cancel()
        process.kill()
    assert first.startswith(b"[00:0")
    said = [line.partition("] ")[2].split() for line in (first + rest).decode().splitlines()]
    assert (tmp_path / "stdin.txt").read_text().split() == [*chain.from_iterable(said)]
    assert b"latency of " in process.stderr.read()


def test_an_error_loses_nothing_that_was_said(folder: Path, sound: Audio, tmp_path: Path) -> None:
    samples = np.concatenate([sound.samples, np.full(100, np.nan, np.float32)])
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, subtype="FLOAT", format="WAV")
    done = piped(folder, file.getvalue(), "--step", "5", "-o", tmp_path)
    assert done.returncode == 2 and done.stdout
    summary, error = done.stderr.decode().splitlines()
    assert summary.startswith("latency of ") and error.endswith(
        "stdin: the stream has samples that are not finite numbers"
    )
    assert (tmp_path / "stdin.txt").read_text().split() == done.stdout.decode().partition("] ")[2].split()


def test_an_interrupt_loses_nothing_that_was_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*_: Any, **__: Any) -> Iterator[Piece]:
        yield Piece((Said(Word(" Hello", 0.0, 0.5, 1.0)),), 1.0, 0.0, 0.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(service, "stream", interrupted)
    recogniser: Any = SimpleNamespace(language=None, spoken="en")
    with pytest.raises(KeyboardInterrupt):
        source: Any = None
        verb.listen(recogniser, source, Path("a.wav"), None, [tmp_path / "a.txt"], Layout(), as_json=False)
    assert (tmp_path / "a.txt").read_text() == "Hello\n"


def test_what_is_said_to_a_closed_output_is_in_the_file(folder: Path, sound: Audio, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "pytorch_to_mlx", "transcribe", str(folder), "--stream", "-", *FAST]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*words, "-o", str(tmp_path)], input=raw(sound), stdout=writing, stderr=-1, timeout=120)
    os.close(writing)
    assert done.returncode != 0 and b"latency of " in done.stderr
    assert (tmp_path / "stdin.txt").read_text().split()


@pytest.mark.parametrize(
    ("data", "arguments", "message"),
    [
        (b"", [], "stdin: no sound arrived"),
        (b"fLaC" + bytes(100), [], "stdin: the stream is FLAC"),
        (b"", ["--step", "99"], "--step 99: give 0.1 to 15 seconds"),
        (b"", ["--clip-timestamps", "1"], "--clip-timestamps is for recordings"),
        (b"", ["other.wav"], "--stream hears one recording, not 2"),
    ],
)
def test_streams_that_cannot_be(folder: Path, data: bytes, arguments: list[str], message: str) -> None:
    done = piped(folder, data, *arguments)
    assert done.returncode == 2 and message in done.stderr.decode() and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.wav", "--step", "2"], "--step is for streams; add --stream"),
        (["-", "--rate", "8000"], "--rate is for streams; add --stream"),
        (["--stream", "a.wav", "--rate", "8000"], "--rate is for raw samples on standard input; a.wav tells its own"),
        (["--stream", "-", "--rate", "1"], "--rate 1: give 1000 to 768000 Hz"),
        (["--stream", "a.wav"], "a.wav: no such file"),
    ],
)
def test_what_is_refused_before_a_model_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run(monkeypatch, "transcribe", "nowhere", *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_keyboard_is_no_sound(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    controller, terminal = os.openpty()
    with os.fdopen(terminal) as keyboard:
        monkeypatch.setattr(sys, "stdin", keyboard)
        assert run(monkeypatch, "transcribe", "nowhere", "--stream", "-") == 2
    os.close(controller)
    assert "nothing is piped in; try: ffmpeg" in capsys.readouterr().err


def test_a_microphone_that_is_missing_is_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "sounddevice.py").write_text('raise OSError("PortAudio library not found")\n')
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = command("transcribe", folder, "--stream", "mic", env=environment)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "libportaudio2" in done.stderr


FAKE = """
import numpy as np
from types import SimpleNamespace

class PortAudioError(Exception): pass

def query_devices(kind):
    return {"default_samplerate": 16000.0}

class InputStream:
    def __init__(self, callback, **_):
        self.callback = callback

    def start(self):
        sound = np.fromfile(SOUND, "<i2").astype(np.float32)[:, None] / 2**15
        self.callback(sound, len(sound), None, SimpleNamespace(input_overflow=False))

    def stop(self): ...

    close = stop
"""


def test_a_microphone_is_heard_until_ctrl_c(folder: Path, sound: Audio, tmp_path: Path) -> None:
    (tmp_path / "sound").write_bytes(raw(sound))
    (tmp_path / "sounddevice.py").write_text(FAKE.replace("SOUND", repr(str(tmp_path / "sound"))))
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    words = [sys.executable, "-m", "pytorch_to_mlx", "transcribe", str(folder), "--stream", "mic", *FAST]
    process = subprocess.Popen([*words, "-o", str(tmp_path / "out")], stdout=-1, stderr=-1, env=environment, text=True)
    assert process.stderr
    assert process.stderr.readline() == "listening; Ctrl-C ends it\n"
    process.send_signal(signal.SIGINT)
    said, told = process.communicate(timeout=60)
    assert process.returncode == 0 and told.startswith("latency of ") and len(told.splitlines()) == 1
    assert said and (tmp_path / "out" / "microphone.txt").read_text().split()[0] in said
