"""Kaldi's filterbank by its properties and at its edges. Parity with torchaudio is CAM++'s first tap."""

from __future__ import annotations

import numpy as np
import pytest

from pytorch_to_mlx.audio.kaldi import fbank
from pytorch_to_mlx.errors import AudioError


def sine(hertz: float, seconds: float = 0.5) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * 16000)) / 16000).astype(np.float32)


@pytest.mark.parametrize(("samples", "frames"), [(400, 1), (559, 1), (560, 2), (16000, 98)])
def test_only_whole_windows_count(samples: int, frames: int) -> None:
    assert fbank(np.zeros(samples, np.float32)).shape == (frames, 80)


def test_silence_is_the_smallest_energy() -> None:
    np.testing.assert_allclose(fbank(np.zeros(800, np.float32)), np.log(np.finfo(np.float32).eps), rtol=1e-6)


@pytest.mark.parametrize("hertz", [300.0, 1000.0, 4000.0])
def test_a_sine_is_loudest_in_its_own_band(hertz: float) -> None:
    mel = lambda f: 1127 * np.log(1 + f / 700)  # noqa: E731
    centres = mel(20) + (np.arange(80) + 1) * (mel(8000) - mel(20)) / 81
    loudest = fbank(sine(hertz)).mean(axis=0).argmax()
    assert abs(centres[loudest] - mel(hertz)) <= (mel(8000) - mel(20)) / 81


def test_a_constant_offset_is_not_heard() -> None:
    wav = sine(440)
    np.testing.assert_allclose(fbank(wav + np.float32(0.25)), fbank(wav), atol=1e-3)


def test_twice_as_loud_is_four_times_the_energy() -> None:
    noise = np.random.default_rng(0).standard_normal(4000).astype(np.float32)
    np.testing.assert_allclose(fbank(2 * noise) - fbank(noise), np.log(4), atol=1e-5)


def test_shorter_than_a_window() -> None:
    with pytest.raises(AudioError, match="lasts 25 ms; at least 25 are needed"):
        fbank(np.zeros(399, np.float32))
