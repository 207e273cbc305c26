"""audio/tempo: faster or slower at the same pitch."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from pytorch_to_mlx.audio.tempo import change_tempo, check_speed
from pytorch_to_mlx.errors import MissingDependencyError, UsageError

RATE = 24000


@pytest.mark.parametrize("speed", [0.5, 0.8, 1.25, 2.0])
def test_duration_changes_and_pitch_does_not(speed: float) -> None:
    tone = (0.9 * np.sin(2 * np.pi * 220 * np.arange(2 * RATE) / RATE)).astype(np.float32)
    changed = change_tempo(tone, RATE, speed)
    assert abs(tone.size / changed.size / speed - 1) < 1e-3 and np.abs(changed).max() <= 1
    middle = changed[changed.size // 4 : 3 * changed.size // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(middle.size)))
    assert abs(np.argmax(spectrum) * RATE / middle.size - 220) < 3
    np.testing.assert_array_equal(changed, change_tempo(tone, RATE, speed))


def test_the_models_own_speed_changes_nothing() -> None:
    samples = np.ones(100, np.float32)
    assert change_tempo(samples, RATE, 1.0) is samples


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"--speed 2\.5 is not within 0\.5 to 2"):
        check_speed(2.5, "--speed")
    monkeypatch.setitem(sys.modules, "python_stretch", None)
    with pytest.raises(MissingDependencyError, match=r"pytorch-to-mlx\[narrate\]"):
        change_tempo(np.ones(100, np.float32), RATE, 2.0)
