"""The demo's own logic. Converting, validating and the models are stand-ins here: `make demo` runs the real ones."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from test_presentation import Document, assert_self_contained, report

from pytorch_to_mlx import environments
from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.errors import PytorchToMlxError
from pytorch_to_mlx.folder import Converter, FolderConfig, SourceRecord
from pytorch_to_mlx.tasks import PitchTrack

EXAMPLES = Path(__file__).parents[1] / "examples"
SPEECH_RATE = 16000


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("demo")


@pytest.fixture
def espeak(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("espeak_voices")


def tone(frequency: float, seconds: float = 1.0) -> Audio:
    return Audio(0.3 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * SPEECH_RATE)) / SPEECH_RATE), SPEECH_RATE)


class Encoder:
    """Takes the strongest frequency for the voice."""

    def embed(self, audio: Audio) -> np.ndarray:
        spectrum = np.abs(np.fft.rfft(audio.samples, 400))
        return spectrum / np.linalg.norm(spectrum)

    def similarity(self, first: np.ndarray, second: np.ndarray) -> float:
        return float(first @ second)


class Tracker:
    def pitch(self, audio: Audio, **options: object) -> PitchTrack:
        frames = round(audio.seconds * 50)
        return PitchTrack(np.arange(frames) / 50, np.full(frames, 123.0), np.full(frames, 0.9))


class Work:
    """Stands in for convert and validate, and counts."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def convert(self, source: str, folder: Path, *, variant: str, force: bool) -> None:
        self.done.append(f"convert {folder.name}")
        folder.mkdir(exist_ok=True)
        (folder / "parity.json").unlink(missing_ok=True)
        # Packages are recorded by their distributions' names.
        config = FolderConfig(
            model_type="m",
            variant=variant,
            task="t",
            dtype="float32",
            config={},
            source=SourceRecord(kind="package", location=source.removeprefix("package:").title()),
            converter=Converter(version="0.1.0"),
        )
        (folder / "config.json").write_bytes(config.to_bytes())

    def validate(self, folder: Path, *, note: object) -> object:
        self.done.append(f"validate {folder.name}")
        found = report(name=folder.name, failing=self.failing)
        (folder / "parity.json").write_bytes(found.to_json())
        return found

    failing = False


@pytest.fixture
def work(demo: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Work:
    """The demo with stand-ins for whatever takes long."""
    stand_in = Work()
    recorded = [("anna 1", "anna", 200), ("anna 2", "anna", 210), ("ben 1", "ben", 3000)]
    voices = [demo.Voice(name, who, f"<i>{name}</i>", "CC0", tone(pitch)) for name, who, pitch in recorded]
    monkeypatch.setattr(demo, "convert", stand_in.convert)
    monkeypatch.setattr(demo, "validate", stand_in.validate)
    monkeypatch.setattr(demo, "load", lambda folder: Encoder() if "voice" in folder.name else Tracker())
    monkeypatch.setattr(
        demo, "environments", SimpleNamespace(__file__=environments.__file__, get=str, install=lambda name, note: None)
    )
    monkeypatch.setattr(demo.voices, "find", lambda folder: voices)
    return stand_in


def test_a_first_run_does_all_and_a_second_keeps_it(
    demo: ModuleType, work: Work, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folders = ["voice-encoder-mlx", "crepe-tiny-mlx", "crepe-full-mlx"]
    everything = [f"convert {name}" for name in folders] + [f"validate {name}" for name in folders]
    assert demo.main(["--output", str(tmp_path)]) == 0
    assert work.done == everything
    printed = capsys.readouterr().out
    assert "every voice is told apart" in printed
    assert str(tmp_path / "pitch.png") in printed and (tmp_path / "report.html").as_uri() in printed

    work.done.clear()
    assert demo.main(["--output", str(tmp_path)]) == 0
    assert work.done == []
    assert capsys.readouterr().out.count("before") == 7  # three conversions, three validations, one plot

    assert demo.main(["--output", str(tmp_path), "--fresh"]) == 0
    assert work.done == everything


def test_what_is_stale_is_done_again(demo: ModuleType, work: Work, tmp_path: Path) -> None:
    demo.main(["--output", str(tmp_path)])
    config = tmp_path / "crepe-tiny-mlx" / "config.json"
    fields = json.loads(config.read_text())
    fields["variant"] = "full"
    config.write_text(json.dumps(fields))
    (tmp_path / "crepe-full-mlx" / "config.json").write_text("damaged")
    os.utime(tmp_path / "voice-encoder-mlx" / "parity.json", (0, 0))
    work.done.clear()
    demo.main(["--output", str(tmp_path)])
    names = ["voice-encoder-mlx", "crepe-tiny-mlx", "crepe-full-mlx"]
    assert work.done == [f"convert {n}" for n in names[1:]] + [f"validate {n}" for n in names]


def test_changed_code_converts_and_proves_again(
    demo: ModuleType, work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else yesterday's proof would be shown for today's code."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "model.py").write_text("one")
    monkeypatch.setattr(demo.environments, "__file__", str(package / "environments.py"))
    arguments = ["--output", str(tmp_path / "output")]
    demo.main(arguments)
    everything = work.done.copy()
    assert len(everything) == 6
    demo.main(arguments)
    assert work.done == everything
    (package / "model.py").write_text("two")
    work.failing = True
    demo.main(arguments)
    assert work.done == 2 * everything


def test_the_report_has_everything_in_one_file(demo: ModuleType, work: Work, tmp_path: Path) -> None:
    demo.main(["--output", str(tmp_path)])
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert_self_contained(text)
    document = Document(text)
    assert len(document.all("audio")) == 3
    assert len(document.all("img")) == 1
    for name in ("voice-encoder-mlx", "crepe-tiny-mlx", "crepe-full-mlx", "anna 2b", "<i>ben 1</i>", "123 Hz"):
        assert name in document.text
    assert text.count('<td class="same"') == 4 * 3 + 2  # anna's four halves, ben's two


def test_a_divergence_is_exit_status_one(demo: ModuleType, work: Work, tmp_path: Path) -> None:
    work.failing = True
    assert demo.main(["--output", str(tmp_path)]) == 1
    assert "0 of 3 converted models" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_confused_voices_are_exit_status_one(
    demo: ModuleType, work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(Encoder, "similarity", lambda self, first, second: 0.5)
    assert demo.main(["--output", str(tmp_path)]) == 1
    assert "VOICES ARE NOT TOLD APART" in capsys.readouterr().out


def test_comparison_takes_each_pair_once_and_no_half_with_itself(demo: ModuleType) -> None:
    matrix = np.array([[1, 0.7, 0.6, 0.2], [0.7, 1, 0.1, 0.3], [0.6, 0.1, 1, 0.8], [0.2, 0.3, 0.8, 1]])
    comparison = demo.Comparison(["a 1a", "a 1b", "b 1a", "b 1b"], ["a", "a", "b", "b"], matrix)
    assert (comparison.least_same, comparison.most_different) == (0.7, 0.6)
    assert comparison.told_apart
    lines = demo.matrix_text(comparison).splitlines()
    assert lines[2].split() == ["2", "a", "1b", "70", "-", "10", "30"]
    assert max(map(len, demo.matrix_text(comparison).splitlines())) <= 80


def test_halves_are_of_one_recording(demo: ModuleType) -> None:
    samples = np.concatenate([np.full(80, 0.1), np.full(80, 0.2)])
    voice = demo.Voice("anna 1", "anna", "", "", Audio(samples, SPEECH_RATE))
    seen: list[np.ndarray] = []
    encoder = SimpleNamespace(embed=lambda a: seen.append(a.samples) or np.ones(1), similarity=lambda a, b: 1.0)
    assert demo.compare(encoder, [voice]).labels == ["anna 1a", "anna 1b"]
    assert [(s.size, s.min(), s.max()) for s in seen] == [
        (80, np.float32(0.1), np.float32(0.1)),
        (80, np.float32(0.2), np.float32(0.2)),
    ]


def test_recordings_come_from_the_manifest(demo: ModuleType, tmp_path: Path) -> None:
    entries = [{"file": f"{n}.wav", "speaker": "anna", "text": n, "source": "me", "licence": "CC0"} for n in "xy"]
    for entry in entries:
        tone(100).write(tmp_path / entry["file"])
    (tmp_path / "manifest.json").write_text(json.dumps(entries))
    found = demo.voices.find(tmp_path)
    assert [(v.name, v.speaker, v.text, v.licence, v.audio.rate) for v in found] == [
        ("anna 1", "anna", "x", "me, CC0", SPEECH_RATE),
        ("anna 2", "anna", "y", "me, CC0", SPEECH_RATE),
    ]


def test_without_recordings_espeak_makes_distinct_voices(demo: ModuleType, tmp_path: Path) -> None:
    found = demo.voices.find(tmp_path / "absent")
    assert len({voice.speaker for voice in found}) >= 4
    assert len({voice.name for voice in found}) == len(found) == 8
    for voice in found:
        assert voice.audio.seconds > 3
        assert 0.05 < np.abs(voice.audio.samples).max() <= 1
    first, second = found[0], found[2]
    assert first.text == second.text and first.audio.samples.size != second.audio.samples.size


def test_espeak_obeys_its_settings_and_names_unknown_voices(espeak: ModuleType) -> None:
    slow, fast = (
        espeak.synthesize(espeak.EspeakVoice("en-us+m1", 40, 50, rate), "one two three") for rate in (100, 200)
    )
    assert slow.seconds > 1.3 * fast.seconds > 0.5
    with pytest.raises(PytorchToMlxError, match="no voice xx-nowhere"):
        espeak.synthesize(espeak.EspeakVoice("xx-nowhere", 40, 50, 160), "one two")
