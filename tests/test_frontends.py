"""From recordings to network inputs and from network outputs to pitch, in pieces; test_goldens.py has the whole."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pytorch_to_mlx import Audio
from pytorch_to_mlx.audio import resample
from pytorch_to_mlx.audio.spectrum import mel_filters
from pytorch_to_mlx.cli import voice
from pytorch_to_mlx.components.voice_encoder import frontend
from pytorch_to_mlx.components.voice_encoder.frontend import ChatterboxFrontEnd, FrontEnd, ResemblyzerFrontEnd
from pytorch_to_mlx.components.voice_encoder.model import VoiceEncoderModel
from pytorch_to_mlx.components.voice_encoder.network import VoiceEncoder
from pytorch_to_mlx.errors import AudioError, UsageError
from pytorch_to_mlx.models.crepe.decode import bin_range, bins_to_cents, cents_to_frequency, decode
from pytorch_to_mlx.models.crepe.model import CrepeTracker
from pytorch_to_mlx.models.crepe.network import Crepe, CrepeConfig
from pytorch_to_mlx.tasks import Decoder

RATE = 16000


def noise(size: int) -> np.ndarray:
    return np.random.default_rng(size).uniform(-0.5, 0.5, size).astype(np.float32)


def detecting(monkeypatch: pytest.MonkeyPatch, voiced: Callable[[int], bool]) -> None:
    """Put a detector in WebRTC's place that finds the windows voiced for whose number `voiced` holds."""
    numbers = iter(range(10**6))
    vad = SimpleNamespace(is_speech=lambda window, sample_rate: voiced(next(numbers)))
    monkeypatch.setitem(sys.modules, "webrtcvad", SimpleNamespace(Vad=lambda mode: vad))


@pytest.mark.parametrize("windows", [*range(1, 9), 40])
def test_voiced_windows_keep_their_neighbours(monkeypatch: pytest.MonkeyPatch, windows: int) -> None:
    for pattern in (lambda i: True, lambda i: False, lambda i: i < 6, lambda i: i % 16 < 5, lambda i: i >= 3):
        detecting(monkeypatch, pattern)
        flags = [pattern(i) for i in range(windows)]
        smooth = [sum(flags[max(0, i - 3) : i + 5]) > 4 for i in range(windows)]
        kept = [any(smooth[max(0, i - 3) : i + 4]) for i in range(windows)]
        samples = noise(windows * 480 + 7)
        wanted = samples[: windows * 480].reshape(windows, 480)[np.array(kept)].ravel()
        np.testing.assert_array_equal(frontend._cut_silences(samples), wanted)


# 160 frames of 10 ms, then 77 more for each further partial, which must be filled by three quarters (0.8).
@pytest.mark.parametrize(
    ("seconds", "first", "second"),
    [(0.5, 1, 1), (1.6, 1, 1), (1.9, 1, 1), (2.0, 2, 1), (2.1, 2, 2), (2.37, 2, 2), (2.7, 2, 2), (4.7, 5, 5)],
)
def test_partials_of_each_length(monkeypatch: pytest.MonkeyPatch, seconds: float, first: int, second: int) -> None:
    monkeypatch.setattr(frontend, "_cut_silences", lambda samples: samples)
    audio = Audio(noise(round(seconds * RATE)), RATE)
    assert ResemblyzerFrontEnd().partials(audio).shape == (first, 160, 40)
    assert ChatterboxFrontEnd().partials(audio).shape == (second, 160, 40)


@pytest.mark.parametrize("front_end", [ResemblyzerFrontEnd(), ChatterboxFrontEnd()])
def test_rates_silence_and_short_recordings(monkeypatch: pytest.MonkeyPatch, front_end: FrontEnd) -> None:
    detecting(monkeypatch, lambda i: True)
    for rate in (8000, 16000, 44100):
        assert front_end.partials(Audio(noise(5 * rate // 2), rate)).shape == (2, 160, 40)
    with pytest.raises(AudioError, match=r"the recording is silent$"):
        front_end.partials(Audio(np.zeros(RATE, np.float32), RATE))
    with pytest.raises(AudioError, match=r"no speech was found|silent or too short"):
        front_end.partials(Audio(noise(150), RATE))
    with pytest.raises(AudioError, match="the recording is too short"):
        front_end.partials(Audio(noise(2), 48000))


def test_quiet_ends_are_trimmed() -> None:
    loud = noise(8192)
    trimmed = frontend._trim_ends(np.concatenate([np.zeros(16384, np.float32), loud, np.zeros(16384, np.float32)]))
    assert 8192 <= trimmed.size <= 8192 + 2 * 2048
    np.testing.assert_array_equal(trimmed[np.flatnonzero(trimmed)], loud)


def test_quiet_recordings_are_raised_and_loud_ones_kept() -> None:
    raised = frontend._raise_volume(noise(RATE) / 1000)
    np.testing.assert_allclose(np.sqrt(np.mean(raised**2)), 10 ** (-30 / 20), rtol=1e-4)
    np.testing.assert_array_equal(frontend._raise_volume(noise(RATE)), noise(RATE))


@pytest.mark.parametrize("method", ["soxr_hq", "kaiser_best", "kaiser_fast"])
def test_resampled_lengths_are_rounded_as_upstream_does(method: Any) -> None:
    for size, source, up, down in ((1001, 44100, 364, 363), (101, 8000, 202, 202), (3, 48000, 1, 1)):
        converted = resample(noise(size), source, RATE, method)
        assert (converted.shape, converted.dtype) == ((up,), np.float32)
        assert resample(noise(size), source, RATE, method, rounding="down").shape == (down,)
    for size in (1, 2):
        with pytest.raises(AudioError, match="too short to resample from 48000 to 16000 Hz"):
            resample(noise(size), 48000, RATE, method)


def test_lengths_are_librosas_whose_ratio_is_rounded() -> None:
    assert resample(noise(294), 22050, 24000).size == 321  # 294 * (24000 / 22050) is 320.00000000000006
    assert resample(noise(294), 22050, 24000, "sinc_hann").size == 320


def test_mel_filters_are_triangles_of_unit_area() -> None:
    filters = np.array(mel_filters(RATE, 4096, 40))
    assert filters.shape == (2049, 40) and filters.min() == 0
    np.testing.assert_allclose(filters.sum(axis=0) * RATE / 4096, 1, rtol=0.01)
    assert (np.diff(filters.argmax(axis=0)) > 0).all()
    for band, peak in zip(filters.T, filters.argmax(axis=0), strict=True):
        assert (np.diff(band[: peak + 1]) >= 0).all() and (np.diff(band[peak:]) <= 0).all()
    assert mel_filters(RATE, 400, 40, fmin=1000.0)[:25].max().item() == 0  # bins of 40 Hz


def spikes(*bins: int) -> np.ndarray:
    """Probabilities that peak in one bin a frame."""
    probabilities = np.full((len(bins), 360), 0.01, np.float32)
    probabilities[np.arange(len(bins)), bins] = 0.9
    return probabilities


def test_argmax_takes_the_likeliest_bin_within_the_range() -> None:
    bins, pitch, periodicity = decode(spikes(100, 228), "argmax", 50, 2006, None)
    assert bins.tolist() == [100, 228]
    np.testing.assert_allclose(pitch, cents_to_frequency(bins_to_cents(bins)))
    np.testing.assert_allclose(periodicity, 0.9)
    probabilities = spikes(300)
    probabilities[0, 120] = 0.5
    low, high = bin_range(50, 550)
    bins, _, periodicity = decode(probabilities, "argmax", 50, 550, None)
    assert bins.tolist() == [120] and low <= 120 < high <= 300 and periodicity == 0.5


def test_weighted_lies_between_the_bins() -> None:
    probabilities = spikes(100)
    probabilities[0, 101:105] = 0.8
    bins, pitch, _ = decode(probabilities, "weighted", 50, 2006, None)
    weights = 1 / (1 + np.exp(-probabilities[0, 96:105].astype(float)))
    cents = (weights * bins_to_cents(np.arange(96, 105))).sum() / weights.sum()
    assert bins.tolist() == [100]
    np.testing.assert_allclose(pitch, cents_to_frequency(np.array([cents])), rtol=1e-6)
    low, _ = bin_range(100, 2006)  # what is masked has no weight
    _, pitch, _ = decode(spikes(low), "weighted", 100, 2006, None)
    assert pitch[0] > cents_to_frequency(bins_to_cents(np.array([low])))[0]
    assert np.isfinite(decode(spikes(0, 359), "weighted", 31.8, 2006, None)[1]).all()


def test_viterbi_passes_over_a_jump_that_argmax_takes() -> None:
    probabilities = spikes(*[100] * 4, 250, *[102] * 4)
    probabilities[4, 101] = 0.85
    assert decode(probabilities, "argmax", 50, 2006, None)[0][4] == 250
    bins, _, periodicity = decode(probabilities, "viterbi", 50, 2006, None)
    assert bins.tolist() == [100] * 4 + [101] + [102] * 4
    np.testing.assert_allclose(periodicity[4], 0.85)
    low, high = bin_range(50, 200)
    masked = decode(probabilities, "viterbi", 50, 200, None)[0]
    assert (masked >= low).all() and (masked < high).all()


@pytest.mark.parametrize(("decoder", "length"), [("argmax", 3), ("viterbi", 3), ("weighted", 360)])
def test_dither_has_one_shape_for_each_decoder(decoder: Decoder, length: int) -> None:
    probabilities = spikes(100, 101, 102)
    plain = decode(probabilities, decoder, 50, 550, None)[1]
    octave = decode(probabilities, decoder, 50, 550, np.full(length, 1200, np.float32))[1]
    np.testing.assert_allclose(octave, 2 * plain, rtol=1e-5)
    with pytest.raises(UsageError, match=f"dither for {decoder} has shape"):
        decode(probabilities, decoder, 50, 550, np.zeros(length + 1, np.float32))


@pytest.mark.parametrize("hertz", [0.0, -5.0, float("nan"), float("inf"), 1e-60, 1e60])
def test_frequencies_that_are_none_are_refused(hertz: float) -> None:
    with pytest.raises(UsageError, match=f"--fmin {hertz:g}: ".replace("+", r"\+")):
        bin_range(hertz, 550)
    with pytest.raises(UsageError, match=f"--fmax {hertz:g}: ".replace("+", r"\+")):
        bin_range(50, hertz)


def test_ranges_without_a_bin_are_refused() -> None:
    for fmin, fmax, message in ((600, 550, "no pitch bin"), (2100, 3000, "no pitch bin"), (20, 550, "below CREPE's")):
        with pytest.raises(UsageError, match=message):
            bin_range(fmin, fmax)


def test_frames_of_each_hop() -> None:
    tracker = CrepeTracker(Crepe(CrepeConfig((4, 4, 4, 4, 4, 4))))
    for size, hop, frames in ((1, 160, 1), (1600, 160, 11), (1599, 160, 10), (1600, 1, 1601)):
        assert tracker.frames(Audio(noise(size), RATE), hop).shape == (frames, 1024)
    with pytest.raises(UsageError, match=r"^--hop 0: "):
        tracker.pitch(Audio(noise(1600), RATE), hop_length=0)


@pytest.mark.parametrize("speaker", [False, True])
def test_the_recording_at_fault_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, speaker: bool) -> None:
    monkeypatch.setattr(voice, "_load", lambda folder: VoiceEncoderModel(VoiceEncoder(), ChatterboxFrontEnd()))
    good, bad = tmp_path / "good.wav", tmp_path / "bad.wav"
    Audio(noise(4800), RATE).write(good)
    Audio(np.zeros(4800, np.float32), RATE).write(bad)
    with pytest.raises(AudioError, match=r"bad\.wav: the recording is silent"):
        voice.embed(tmp_path, [good, bad], speaker=speaker)
    with pytest.raises(AudioError, match=r"bad\.wav: the recording is silent"):
        voice.similarity(tmp_path, [good, bad])
