"""The watermarker: its signal path, its failures, and the command line. Goldens hold its taps against upstream's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
import soundfile
from cli_room import Arguments, at_once, succeed
from safetensors.numpy import load_file, save_file
from small_ports import SEED, perth_tensors, safetensors_file

from pytorch_to_mlx import Audio, convert, load
from pytorch_to_mlx.audio.polyphase import resample_polyphase
from pytorch_to_mlx.components.perth import PerthWatermarker, network, spectrum
from pytorch_to_mlx.components.perth.network import _linear, _nearest
from pytorch_to_mlx.conversion import DType
from pytorch_to_mlx.errors import AudioError, FolderError, WeightMapError
from pytorch_to_mlx.tasks import Watermarker

RATE = 32000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("perth")
    convert(str(safetensors_file(path / "perth.safetensors", perth_tensors())), path / "mlx")
    return path / "mlx"


@pytest.fixture(scope="module")
def watermarker(folder: Path) -> PerthWatermarker:
    return load(folder)


def speech(seconds: float, rate: int = RATE) -> Audio:
    return Audio(SEED.speechlike(1, seconds, rate), rate)


# Signal path


def test_a_spectrum_becomes_its_signal_again() -> None:
    samples = speech(0.5).samples[: 320 * 40]
    found = spectrum.spectrum(spectrum.framed(samples))
    assert found.shape == (41, 1025)
    np.testing.assert_allclose(spectrum.signal(found), samples, atol=1e-7)
    same = spectrum.with_decibels(found, spectrum.decibels(found))
    np.testing.assert_allclose(same, found, atol=1e-9)


def test_decibels_run_from_the_floor_to_15() -> None:
    levels = spectrum.decibels(np.array([0, 1e-10, 1e-9, 1, 10 ** (15 / 20)], complex))
    np.testing.assert_allclose(levels, [0, 0, 0, 180 / 195, 1])
    silent = spectrum.with_decibels(np.zeros(1, complex), np.array([0.5]))
    np.testing.assert_allclose(silent, [10 ** ((0.5 * 195 - 180) / 20)])


@pytest.mark.parametrize(
    ("source", "target"), [(24000, 32000), (16000, 32000), (44100, 32000), (44101, 32000), (48000, 32000)]
)
def test_polyphase_resampling_is_scipys(source: int, target: int) -> None:
    signal = pytest.importorskip("scipy.signal")
    samples = speech(0.1, source).samples[:-1]
    common = np.gcd(source, target)
    expected = signal.resample_poly(samples, target // common, source // common)
    found = resample_polyphase(samples, source, target)
    assert (found.dtype, found.shape) == (np.float32, expected.shape)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_polyphase_resampling_keeps_a_tone() -> None:
    def tone(rate: int) -> np.ndarray:
        return np.sin(2 * np.pi * 440 * np.arange(rate // 5) / rate).astype(np.float32)

    found, inner = resample_polyphase(tone(24000), 24000, RATE), slice(100, -100)
    assert found.shape == (6400,)
    np.testing.assert_allclose(found[inner], tone(RATE)[inner], atol=2e-3)
    assert resample_polyphase(np.zeros(0, np.float32), 24000, RATE).shape == (0,)


def test_other_speeds_keep_the_ends() -> None:
    frames = mx.arange(8, dtype=mx.float32)[None, :, None]
    assert _linear(frames, 15)[0, :, 0].tolist() == [n / 2 for n in range(15)]
    assert _linear(frames, 1)[0, :, 0].tolist() == [0]
    assert _linear(frames[:, :1], 3)[0, :, 0].tolist() == [0, 0, 0]
    assert _nearest(8, 10).tolist() == [0, 0, 1, 2, 3, 4, 4, 5, 6, 7]
    assert _nearest(8, 6).tolist() == [0, 1, 2, 4, 5, 6]


# Marking and telling


@pytest.mark.parametrize("rate", [16000, 24000, RATE, 44100])
def test_marking_keeps_rate_and_whole_frames(watermarker: PerthWatermarker, rate: int) -> None:
    assert isinstance(watermarker, Watermarker)
    audio = speech(0.5, rate)
    marked = watermarker.apply(audio)
    assert marked.rate == rate and marked.samples.dtype == np.float32
    assert marked.samples.size == audio.samples.size
    change = np.abs(marked.samples - audio.samples).max()
    assert 0.01 < change < 10
    shorter = watermarker.apply(Audio(audio.samples[:-5], rate)).samples.size
    assert shorter == audio.samples.size - rate // 100
    assert 0 <= watermarker.detect(audio) <= 1


def test_only_sounding_frames_are_marked(watermarker: PerthWatermarker) -> None:
    silence = np.zeros(RATE // 2, np.float32)
    marked = watermarker.apply(Audio(np.concatenate([speech(0.5).samples, silence]), RATE))
    assert np.abs(marked.samples[RATE // 2 + 2048 :]).max() < 1e-8
    assert np.abs(watermarker.apply(Audio(silence, RATE)).samples).max() < 1e-8


def test_long_recordings_go_in_blocks_that_leave_no_trace(
    watermarker: PerthWatermarker, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = speech(1.3)
    whole = watermarker.apply(audio).samples, watermarker.detect(audio)
    monkeypatch.setattr(network, "BLOCK", 40)
    monkeypatch.setattr("pytorch_to_mlx.components.perth.watermarker.BLOCK", 26)
    blocks = watermarker.apply(audio).samples, watermarker.detect(audio)
    np.testing.assert_allclose(blocks[0], whole[0], atol=2e-6 * np.abs(whole[0]).max())
    assert blocks[1] == pytest.approx(whole[1], abs=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_lesser_precision_marks_nearly_alike(folder: Path, dtype: DType, tmp_path: Path) -> None:
    convert(str(folder.parent / "perth.safetensors"), tmp_path / "half", dtype=dtype)
    audio = speech(0.2)
    exact, found = load(folder).apply(audio).samples, load(tmp_path / "half").apply(audio).samples
    assert 0 < np.abs(found - exact).max() < 0.1 * np.abs(exact).max()


@pytest.mark.parametrize("task", ["apply", "detect"])
def test_a_short_recording_is_refused(watermarker: PerthWatermarker, task: str) -> None:
    call: Callable[[Audio], object] = getattr(watermarker, task)
    call(Audio(np.ones(1025, np.float32), RATE))
    with pytest.raises(AudioError, match="too short for the watermark: 32 ms, not 33"):
        call(Audio(np.ones(1024, np.float32), RATE))


def test_silence_tells_nothing(watermarker: PerthWatermarker) -> None:
    with pytest.raises(AudioError, match="the recording is silent: nothing tells"):
        watermarker.detect(Audio(np.zeros(RATE, np.float32), RATE))


def test_every_tensor_is_accounted_for(tmp_path: Path) -> None:
    tensors = perth_tensors()
    assert len(tensors) == 59
    for name in ("model.decoder.slow_layers.3.conv.bias", "model.ap.spectrogram.window"):
        lacking = safetensors_file(tmp_path / "lacking.safetensors", {k: v for k, v in tensors.items() if k != name})
        with pytest.raises(WeightMapError, match=r"lacking.safetensors does not fit"):
            convert(str(lacking), tmp_path / "mlx")


# Command line


def test_the_command_line_marks_and_tells(folder: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.wav", tmp_path / "second.flac"
    speech(0.5, 24000).write(first)
    assert succeed("watermark", folder, "apply", first, "-o", second) == ""
    assert soundfile.info(second).samplerate == 24000
    table = succeed("watermark", folder, "detect", first, second).splitlines()
    assert table[0].split() == ["recording", "confidence", "marked"] and len(table) == 3
    told = json.loads(succeed("watermark", folder, "detect", first, second, "--json"))
    assert list(told) == [str(first), str(second)]
    for line, (name, confidence) in zip(table[1:], told.items(), strict=True):
        assert line.split() == [name, f"{confidence:.3f}", "yes" if confidence >= 0.5 else "no"]
    assert abs(told[str(first)] - load(folder).detect(Audio.read(first))) < 1e-3


def part_of_a_model(folder: Path, target: Path, **changes: np.ndarray) -> Path:
    """A folder of a model that is known, with the watermarker beside what else it may hold."""
    target.mkdir()
    config = json.loads((folder / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, "model_type": "chatterbox"}))
    tensors = {f"perth.{name}": array for name, array in load_file(folder / "model.safetensors").items()}
    other = {"t3.weight": np.ones(3, np.float32), **changes}
    save_file({**tensors, **other}, target / "model.safetensors", {"format": "mlx"})
    return target


def test_the_watermarker_of_a_larger_model_serves(folder: Path, tmp_path: Path) -> None:
    speech(0.5).write(tmp_path / "a.wav")
    alone, within = folder, part_of_a_model(folder, tmp_path / "larger")
    told = [succeed("watermark", each, "detect", tmp_path / "a.wav", "--json") for each in (alone, within)]
    assert told[0] == told[1]


def test_failures_are_one_line(folder: Path, tmp_path: Path) -> None:
    wav, silent, brief = (tmp_path / name for name in ("a.wav", "silent.wav", "brief.wav"))
    speech(0.5).write(wav)
    Audio(np.zeros(RATE, np.float32), RATE).write(silent)
    Audio(np.ones(500, np.float32), RATE).write(brief)
    damaged = part_of_a_model(folder, tmp_path / "damaged", **{"perth.decoder.more": np.ones(1, np.float32)})
    out = tmp_path / "out.wav"
    failures: dict[str, tuple[Arguments, str]] = {
        "action": ((folder, "listen", wav), "listen is neither apply nor detect"),
        "no output": (
            (folder, "apply", wav),
            "apply marks one recording: name it, and the file to write with --output",
        ),
        "two": ((folder, "apply", wav, silent, "-o", out), "apply marks one recording"),
        "detect -o": ((folder, "detect", wav, "-o", out), "is for apply; detect prints"),
        "apply --json": ((folder, "apply", wav, "--json", "-o", out), "--json is for detect"),
        "suffix": ((folder, "apply", wav, "-o", tmp_path / "out.txt"), "no audio format is called 'txt'"),
        "folder": ((folder, "apply", wav, "-o", tmp_path / "no" / "out.wav"), "there is no folder"),
        "absent": ((folder, "detect", tmp_path / "absent.wav"), "absent.wav: no such file"),
        "silent": ((folder, "detect", wav, silent), "silent.wav: the recording is silent"),
        "brief": ((folder, "apply", brief, "-o", out), "brief.wav: the recording is too short for the watermark"),
        "no model": ((tmp_path, "detect", wav), "config.json: is missing"),
        "damaged": ((damaged, "detect", wav), "does not hold its watermarker"),
    }
    done = at_once({name: ("watermark", *arguments) for name, (arguments, _) in failures.items()})
    for name, (_, said) in failures.items():
        assert (done[name].returncode, done[name].stdout) == (2, ""), name
        assert done[name].stderr.startswith("pytorch-to-mlx: ") and done[name].stderr.count("\n") == 1, done[
            name
        ].stderr
        assert said in done[name].stderr and "unexpected" not in done[name].stderr, (name, done[name].stderr)
    assert not out.exists()


def test_another_model_is_no_watermarker(tmp_path: Path) -> None:
    from small_ports import voice_encoder_tensors

    convert(str(safetensors_file(tmp_path / "ve.safetensors", voice_encoder_tensors())), tmp_path / "voices")
    speech(0.5).write(tmp_path / "a.wav")
    done = at_once({"": ("watermark", tmp_path / "voices", "detect", tmp_path / "a.wav")})[""]
    assert "voices holds no watermarker; convert one with: pytorch-to-mlx convert package:resemble-perth" in done.stderr
    assert done.returncode == 2


def test_a_folder_without_part_of_its_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_bytes((folder / "config.json").read_bytes())
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("encoder.layers.0.conv.bias")
    save_file(tensors, broken / "model.safetensors", {"format": "mlx"})
    with pytest.raises(FolderError, match=r"lacks encoder.layers.0.conv.bias"):
        load(broken)
