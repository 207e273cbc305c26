"""`synthesize`, `voice` and `convert-voice` around a stand-in for a speech model: what is passed, written, refused."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from cli_room import run

from pytorch_to_mlx import Audio, loading
from pytorch_to_mlx.cli import watermark
from pytorch_to_mlx.errors import AudioError
from pytorch_to_mlx.tasks import SpeechModel, Voice, VoiceConverter

RATE = 24000


class Parrot:
    """Says one sample for each letter; keeps what it was asked."""

    sample_rate = RATE
    tokens_per_second = 25.0

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}
        self.stops_after: int | None = None

    def prepare_voice(self, audio: Audio, text: str | None = None) -> Voice:
        self.asked = {"text": text}
        if audio.seconds < 0.1:
            raise AudioError("too short")
        return Voice("parrot", {"mean": audio.samples.mean(keepdims=True)})

    def likeness(self, first: Voice | Audio, second: Voice | Audio) -> float:
        one, other = (v.arrays["mean"][0] if isinstance(v, Voice) else v.samples.mean() for v in (first, second))
        return 1 - abs(float(one - other))

    def synthesize(self, text: str, **asked: Any) -> Audio:
        asked["progress"](0, 1, len(text))
        self.asked = {"text": text, **asked}
        if self.stops_after is not None:
            raise KeyboardInterrupt
        return Audio(np.full(len(text), 0.5, np.float32), RATE)

    def stream(self, text: str, **asked: Any) -> Iterator[Audio]:
        self.asked = {"text": text, **asked}
        for index, word in enumerate(text.split()):
            if index == self.stops_after:
                raise KeyboardInterrupt
            yield Audio(np.full(len(word), 0.25, np.float32), RATE)

    def convert_voice(self, source: Audio, **asked: Any) -> Audio:
        self.asked = asked
        return Audio(-source.samples, source.rate)


@pytest.fixture
def parrot(monkeypatch: pytest.MonkeyPatch) -> Parrot:
    parrot = Parrot()
    assert isinstance(parrot, SpeechModel) and isinstance(parrot, VoiceConverter)
    monkeypatch.setattr(loading, "load", lambda folder: parrot)
    return parrot


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "anna.wav", np.full((4000, 2), 0.125), 16000)
    return tmp_path / "anna.wav"


def test_settings_reach_the_model_and_audio_the_file(
    parrot: Parrot, wav: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.flac"
    options = (
        "--exaggeration",
        "0.7",
        "--cfg-weight",
        "0",
        "--top-k",
        "5",
        "--seed",
        "3",
        "-l",
        "fr",
        "--no-watermark",
    )
    given = ("-t", "hello", "--ref-audio", wav, "-o", out)
    assert run(monkeypatch, "synthesize", "dir", *given, *options) == 0
    samples, rate = soundfile.read(out)
    assert (len(samples), rate) == (5, RATE) and soundfile.info(out).format == "FLAC"
    asked = parrot.asked
    assert (asked["exaggeration"], asked["cfg_weight"], asked["top_k"], asked["seed"]) == (0.7, 0, 5, 3)
    assert (asked["language"], asked["watermark"]) == ("fr", False)
    assert not {"temperature", "ref_text", "speaker", "instruct"} & asked.keys()  # the model's own, as nobody gave them
    assert asked["voice"].rate == 16000 and asked["voice"].samples.shape == (4000,)
    assert "out.flac: 0.0 s" in capsys.readouterr().out


def test_a_voice_is_prepared_once_and_used(
    parrot: Parrot, wav: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice = tmp_path / "anna.safetensors"
    assert run(monkeypatch, "voice", "dir", wav, "-o", voice, "--ref-text", "what it says") == 0
    assert parrot.asked == {"text": "what it says"}
    assert run(monkeypatch, "voice", "dir", wav, "-o", voice) == 0
    assert parrot.asked == {"text": None}
    assert run(monkeypatch, "synthesize", "dir", "-t", "hi", "--voice", voice, "-o", tmp_path / "o.wav") == 0
    assert parrot.asked["voice"].kind == "parrot"
    np.testing.assert_allclose(parrot.asked["voice"].arrays["mean"], [0.125])


def test_of_several_recordings_the_most_typical_is_taken(
    parrot: Parrot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    takes = [tmp_path / f"take{n}.wav" for n in range(3)]
    for path, level in zip(takes, (0.0, 0.25, 0.375), strict=True):
        soundfile.write(path, np.full(4000, level), 16000)
    out = tmp_path / "anna.safetensors"
    assert run(monkeypatch, "voice", "dir", *takes, "-o", out) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.split() for line in told[:-1]] == [
        ["take0.wav", "take1.wav", "take2.wav"],
        ["take0.wav", "1.000", "0.750", "0.625"],
        ["take1.wav", "0.750", "1.000", "0.875"],
        ["take2.wav", "0.625", "0.875", "1.000"],
    ]
    assert told[-1].endswith("take1.wav") and np.isclose(Voice.load(out).arrays["mean"][0], 0.25)
    assert run(monkeypatch, "voice", "dir", *takes, "-o", out, "--ref-text", "x") == 2
    assert "what one recording says" in capsys.readouterr().err


def test_nothing_that_is_read_is_written_over(
    parrot: Parrot, wav: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = wav.read_bytes()
    for words in (
        ("synthesize", "dir", "-t", "hi", "--ref-audio", wav, "-o", wav),
        ("voice", "dir", wav, "-o", wav),
        ("convert-voice", "dir", "--source", wav, "-o", wav.parent / "." / wav.name),
        ("pitch", "dir", wav, "-o", wav),
        ("tokenize", "dir", wav, "-o", wav),
        ("watermark", "dir", "apply", wav, "-o", wav),
    ):
        assert run(monkeypatch, *words) == 2
        assert "is read, and would be written over" in capsys.readouterr().err
    assert wav.read_bytes() == before
    assert run(monkeypatch, "voice", "dir", wav, "-o", tmp_path / "voice.wav") == 2
    assert "a voice is a .safetensors file" in capsys.readouterr().err


def test_several_recordings_are_tried(
    parrot: Parrot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The parrot is always as loud as the first take, which is not the most typical one."""
    takes = [tmp_path / f"take{n}.wav" for n in range(3)]
    for path, level in zip(takes, (0.5, 0.25, 0.125), strict=True):
        soundfile.write(path, np.full(4000, level), 16000)
    out = tmp_path / "anna.safetensors"
    assert run(monkeypatch, "voice", "dir", *takes, "--try", "hello", "-o", out) == 0
    told = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert told[-4:-1] == [
        ["take0.wav", "1.000", "anna-try-1.wav"],
        ["take1.wav", "0.750", "anna-try-2.wav"],
        ["take2.wav", "0.625", "anna-try-3.wav"],
    ]
    assert told[-1][-1].endswith("take0.wav") and np.isclose(Voice.load(out).arrays["mean"][0], 0.5)
    assert soundfile.info(tmp_path / "anna-try-3.wav").frames == 5 and parrot.asked["text"] == "hello"
    assert np.isclose(parrot.asked["voice"].arrays["mean"][0], 0.125)
    kept = tmp_path / "anna-try-2.wav"
    before = kept.read_bytes()
    assert run(monkeypatch, "voice", "dir", takes[0], kept, "--try", "hello", "-o", out) == 2
    assert "--try would write over" in capsys.readouterr().err and kept.read_bytes() == before

    def tells(first: Voice | Audio, second: Voice | Audio) -> float:
        if isinstance(first, Audio) and parrot.asked["voice"].arrays["mean"][0] > 0.4:
            raise AudioError("too short to tell")
        return 0.5

    parrot.likeness = tells
    assert run(monkeypatch, "voice", "dir", *takes, "--try", "hello", "-o", out) == 0
    assert "too short" in capsys.readouterr().out and np.isclose(Voice.load(out).arrays["mean"][0], 0.25)


def test_a_passage_of_a_recording(
    parrot: Parrot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loud = np.random.default_rng(0).normal(0, 0.1, 16000)
    soundfile.write(tmp_path / "long.wav", np.concatenate([np.zeros(32000), loud, np.zeros(32000)]), 16000)
    given = ("synthesize", "dir", "-t", "hi", "--ref-audio", tmp_path / "long.wav", "-o", tmp_path / "o.wav")
    assert run(monkeypatch, *given, "--ref-seconds", "1") == 0
    assert 0.9 <= parrot.asked["voice"].seconds <= 1 and np.abs(parrot.asked["voice"].samples).mean() > 0.05
    assert "the reference is 2.0" in capsys.readouterr().err
    assert run(monkeypatch, *given, "--ref-seconds", "1", "--ref-text", "x") == 2
    assert "leave out --ref-text" in capsys.readouterr().err
    assert run(monkeypatch, *given, "--ref-seconds", "0") == 2
    assert "--ref-seconds 0 is not within" in capsys.readouterr().err
    assert run(monkeypatch, "synthesize", "dir", "-t", "hi", "--ref-seconds", "3", "-o", tmp_path / "o.wav") == 2
    assert "give --ref-audio too" in capsys.readouterr().err


def test_text_from_a_file_and_from_the_input(parrot: Parrot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.txt").write_text("Grüße", encoding="utf-8")
    assert run(monkeypatch, "synthesize", "dir", "-f", tmp_path / "text.txt", "-o", tmp_path / "o.wav") == 0
    assert parrot.asked["text"] == "Grüße" and "watermark" not in parrot.asked
    monkeypatch.setattr(sys, "stdin", io.StringIO("from a pipe"))
    assert run(monkeypatch, "synthesize", "dir", "-f", "-", "-o", tmp_path / "o.wav") == 0
    assert parrot.asked["text"] == "from a pipe"


def test_streaming_to_a_file_and_to_a_pipe(
    parrot: Parrot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert run(monkeypatch, "synthesize", "dir", "-t", "one two three", "--stream", "-o", tmp_path / "o.wav") == 0
    assert len(soundfile.read(tmp_path / "o.wav")[0]) == 11
    capfdbinary.readouterr()
    assert run(monkeypatch, "synthesize", "dir", "-t", "one two three", "--stream", "-o", "-") == 0
    pcm = np.frombuffer(capfdbinary.readouterr().out, "<i2")
    assert len(pcm) == 11 and set(pcm) == {round(0.25 * 32767)}


def test_an_interruption_leaves_no_half_written_file(
    parrot: Parrot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "o.wav").write_bytes(b"what was there")
    parrot.stops_after = 1
    assert run(monkeypatch, "synthesize", "dir", "-t", "one two", "-o", tmp_path / "o.wav") == 130
    assert (tmp_path / "o.wav").read_bytes() == b"what was there"
    assert [path.name for path in tmp_path.iterdir()] == ["o.wav"]
    assert "interrupted" in capsys.readouterr().err
    # What was streamed so far is kept: it was heard already.
    assert run(monkeypatch, "synthesize", "dir", "-t", "one two", "--stream", "-o", tmp_path / "s.wav") == 130
    assert len(soundfile.read(tmp_path / "s.wav")[0]) == 3


def test_voice_conversion(parrot: Parrot, wav: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "as-ben.wav"
    assert run(monkeypatch, "convert-voice", "dir", "--source", wav, "--target", wav, "-o", out, "--seed", "4") == 0
    samples, rate = soundfile.read(out)
    assert rate == 16000 and np.allclose(samples, -0.125, atol=1e-4)
    assert parrot.asked["seed"] == 4 and parrot.asked["watermark"] is True


REFUSED = {
    "no text": (("synthesize", "dir", "-o", "o.wav"), "give what to say with --text or --file, one of them"),
    "two texts": (("synthesize", "dir", "-o", "o.wav", "-t", "a", "-f", "b"), "with --text or --file, one of them"),
    "two voices": (
        ("synthesize", "dir", "-o", "o.wav", "-t", "a", "--voice", "v", "--ref-audio", "w"),
        "give --ref-audio or --voice, not both",
    ),
    "no such text": (("synthesize", "dir", "-o", "o.wav", "-f", "absent.txt"), "--file absent.txt: cannot be read"),
    "no text at all": (("synthesize", "dir", "-o", "o.wav", "-f", "anna.wav"), "--file anna.wav: is no text in UTF-8"),
    "no such recording": (
        ("synthesize", "dir", "-o", "o.wav", "-t", "a", "--ref-audio", "x.wav"),
        "x.wav: no such file",
    ),
    "no such voice": (("synthesize", "dir", "-o", "o.wav", "-t", "a", "--voice", "x.safetensors"), "x.safetensors"),
    "no voice": (("synthesize", "dir", "-o", "o.wav", "-t", "a", "--voice", "other.safetensors"), "holds no voice"),
    "format": (("synthesize", "dir", "-o", "o.mp9", "-t", "a"), "o.mp9: no audio format is called 'mp9'"),
    "folder": (("synthesize", "dir", "-o", "no/o.wav", "-t", "a"), "there is no folder no"),
    "pipe": (("synthesize", "dir", "-o", "-", "-t", "a"), "--output - is for --stream"),
    "too short": (("voice", "dir", "short.wav", "-o", "v.safetensors"), "short.wav: too short"),
    "source": (("convert-voice", "dir", "--source", "x.wav", "-o", "o.wav"), "x.wav: no such file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(
    case: str,
    parrot: Parrot,
    wav: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from safetensors.numpy import save_file

    monkeypatch.chdir(tmp_path)
    save_file({"x": np.zeros(1, np.float32)}, "other.safetensors")
    soundfile.write("short.wav", np.zeros(10), 16000)
    arguments, message = REFUSED[case]
    assert run(monkeypatch, *arguments) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and message in said[0]
    assert not Path("o.wav").exists()


def test_a_model_for_another_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(loading, "load", lambda folder: object())
    assert run(monkeypatch, "synthesize", "dir", "-t", "a", "-o", tmp_path / "o.wav") == 2
    assert "dir holds no speech model; convert one with: pytorch-to-mlx convert Resemble" in capsys.readouterr().err


def test_voices_keep_their_arrays_and_kind(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(3, dtype=np.int32)[::-1]}
    Voice("some-kind", arrays).save(tmp_path / "voice.safetensors")
    voice = Voice.load(tmp_path / "voice.safetensors")
    assert voice.kind == "some-kind" and voice.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(voice.arrays[name], array)
        assert voice.arrays[name].dtype == array.dtype


def test_a_watermark_that_fails_to_be_written_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full(Audio):
        def write(self, path: str | Path) -> None:
            Path(path).write_bytes(b"half")
            raise AudioError(f"{path}: no space left")

    class Marker:
        def apply(self, audio: Audio) -> Audio:
            return Full(audio.samples, audio.rate)

    monkeypatch.setattr(watermark, "_load", lambda folder: Marker())
    wav, out = tmp_path / "in.wav", tmp_path / "out.wav"
    Audio(np.zeros(RATE, np.float32), RATE).write(wav)
    out.write_bytes(b"before")
    assert run(monkeypatch, "watermark", "dir", "apply", wav, "-o", out) == 2
    assert "no space left" in capsys.readouterr().err
    assert out.read_bytes() == b"before" and sorted(tmp_path.iterdir()) == [wav, out]
