"""references/_seed.py: what goldens and seeded checkpoints rest on."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from small_ports import SEED

CLASSIFIER = {"classifier.weight": (360, 256), "classifier.bias": (360,)}
LSTM = {
    "lstm.weight_ih_l0": (1024, 40),
    "lstm.weight_hh_l0": (1024, 256),
    "lstm.weight_ih_l1": (1024, 256),
    "proj.weight": (256, 256),
    "proj.bias": (256,),
}


# Weights


def test_a_tensor_depends_on_seed_name_and_shape_only() -> None:
    shapes = {"a.weight": (8, 4), "b.weight": (8, 4), "c.bias": (8,)}
    drawn = SEED.weights(shapes, seed=3)
    reversed_order = SEED.weights(dict(reversed(shapes.items())), seed=3)
    assert all(np.array_equal(drawn[name], reversed_order[name]) for name in shapes)
    assert not np.array_equal(drawn["a.weight"], drawn["b.weight"])
    assert not np.array_equal(drawn["a.weight"], SEED.weights(shapes, seed=4)["a.weight"])


def test_the_draws_are_those_that_goldens_were_recorded_with() -> None:
    """A failure means that every golden must be recorded again."""
    weight = [-0.9145919, -0.25709978, -0.3663883, 0.00033913623, -0.27741244, 0.37335163]
    noise = [-0.41647536, 0.62565726, 1.9258391]
    np.testing.assert_allclose(SEED.weight("conv1.weight", (2, 3)).ravel(), weight, rtol=1e-6)
    np.testing.assert_allclose(SEED.NoiseStream(0, "noise").normal((3,)), noise, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "shape", "mean", "spread"),
    [
        ("encoder.linear.weight", (512, 400), 0, 1 / 20),
        ("encoder.conv.weight", (256, 16, 25), 0, 1 / 20),
        ("encoder.linear.bias", (4096,), 0, 0.05),
        ("lstm.bias_ih_l0", (4096,), 0, 0.05),
        ("encoder.norm.weight", (4096,), 1, 0.1),
        ("conv1_BN.weight", (4096,), 1, 0.1),
        ("encoder.ln_1.weight", (4096,), 1, 0.1),
        ("conv1_BN.running_mean", (4096,), 0, 0.1),
        ("token_embedding.weight", (512, 64), 0, 1),
        ("quantizer.codebook", (512, 64), 0, 1),
        ("act.alpha", (4096,), 0, 0.1),
    ],
)
def test_scales_keep_activations_of_order_one(name: str, shape: tuple[int, ...], mean: float, spread: float) -> None:
    drawn = SEED.weight(name, shape)
    assert drawn.dtype == np.float32 and drawn.shape == shape
    assert drawn.mean() == pytest.approx(mean, abs=0.1 * spread)
    assert drawn.std() == pytest.approx(spread, rel=0.1)


def test_what_must_be_positive_is_positive_and_counters_are_integers() -> None:
    assert SEED.weight("bn.running_var", (4096,)).min() >= 1
    assert SEED.weight("conv.weight_g", (512, 1, 1)).min() >= 1
    assert SEED.weight("conv.parametrizations.weight.original0", (512, 1, 1)).min() >= 1
    counter = SEED.weight("bn.num_batches_tracked", ())
    assert counter.dtype == np.int64 and counter == 0


def test_a_gain_scales_one_tensor_and_must_name_one() -> None:
    shapes = {"a.weight": (8, 4), "b.weight": (8, 4)}
    plain, gained = SEED.weights(shapes), SEED.weights(shapes, gains={"a.weight": 2.0})
    np.testing.assert_allclose(gained["a.weight"], 2 * plain["a.weight"], rtol=1e-6)
    np.testing.assert_array_equal(gained["b.weight"], plain["b.weight"])
    with pytest.raises(KeyError, match=r"c\.weight"):
        SEED.weights(shapes, gains={"c.weight": 2.0})


def test_the_voice_encoder_listens_but_is_not_chaotic() -> None:
    drawn = SEED.voice_encoder_weights(LSTM)
    fan_in = {name: np.sqrt(shape[-1]) for name, shape in LSTM.items()}
    assert drawn["lstm.weight_ih_l0"].std() * fan_in["lstm.weight_ih_l0"] > 10
    assert drawn["lstm.weight_hh_l0"].std() * fan_in["lstm.weight_hh_l0"] == pytest.approx(1, rel=0.05)


def test_crepe_prefers_the_bins_of_speech() -> None:
    drawn = SEED.crepe_weights({f"conv{i}.weight": (8, 8, 64, 1) for i in (4, 5, 6)} | CLASSIFIER)
    hertz = 10 * 2 ** ((1997.3794084376191 + 20 * np.arange(360)) / 1200)
    features = np.random.default_rng(0).standard_normal((500, 256))
    logits = features @ drawn["classifier.weight"].T + drawn["classifier.bias"]
    best = hertz[logits.argmax(axis=1)]
    assert best.min() > 80 and best.max() < 400
    assert len(np.unique(best)) > 50


# Noise


def test_a_noise_stream_replays_and_tells_what_it_drew() -> None:
    def draw(stream: Any) -> list[np.ndarray]:
        return [stream.normal((4,)), stream.uniform((2, 3)), stream.triangular((5,), 20)]

    first, second, other = (SEED.NoiseStream(1, name) for name in ("x", "x", "y"))
    for a, b, c in zip(draw(first), draw(second), draw(other), strict=True):
        assert a.dtype == np.float32 and np.array_equal(a, b) and not np.array_equal(a, c)
    assert first.log == [("normal", (4,)), ("uniform", (2, 3)), ("triangular", (5,))]


def test_noise_has_its_distributions() -> None:
    stream = SEED.NoiseStream(0, "distributions")
    normal, uniform, dither = stream.normal((20000,)), stream.uniform((20000,)), stream.triangular((20000,), 20)
    assert (normal.mean(), normal.std()) == pytest.approx((0, 1), abs=0.03)
    assert uniform.min() >= 0 and uniform.max() < 1 and uniform.mean() == pytest.approx(0.5, abs=0.01)
    exponential = stream.exponential((20000,))
    assert exponential.min() > 0 and (exponential.mean(), exponential.std()) == pytest.approx((1, 1), abs=0.03)
    assert np.abs(dither).max() <= 20 and dither.std() == pytest.approx(20 / np.sqrt(6), rel=0.03)


# Speech-like signals


def frames(signal: np.ndarray, length: int = 1024, hop: int = 256) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(signal, length)[::hop]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_speechlike_is_voiced_within_the_range_of_speech_and_pauses(seed: int) -> None:
    signal = SEED.speechlike(seed, 3.0, 16000)
    assert signal.shape == (48000,) and signal.dtype == np.float32 and np.abs(signal).max() <= 1
    windows = frames(signal)
    loudness = windows.std(axis=1)
    loud = loudness > 0.1 * loudness.max()
    assert 0.5 < loud.mean() < 0.95
    assert 0 < loudness.min() < 0.02 * loudness.max()

    pitches = []
    for window in windows[loud]:
        correlation = np.correlate(window, window, "full")[1023:] / (window @ window) / (1 - np.arange(1024) / 1024)
        lags = np.arange(16000 // 400, 16000 // 80)
        if correlation[lags].max() > 0.5:
            pitches.append(16000 / lags[correlation[lags].argmax()])
    assert len(pitches) > 0.8 * loud.sum()
    assert max(pitches) > 1.15 * min(pitches)  # it glides


def test_speechlike_repeats_and_seeds_differ() -> None:
    first = SEED.speechlike(0, 0.5, 16000)
    assert np.array_equal(first, SEED.speechlike(0, 0.5, 16000))
    assert abs(np.corrcoef(first, SEED.speechlike(1, 0.5, 16000))[0, 1]) < 0.2


def test_speechlike_is_the_same_signal_at_another_rate() -> None:
    low, high = SEED.speechlike(0, 0.3, 16000), SEED.speechlike(0, 0.3, 32000)
    smoothed = np.convolve(high, [0.25, 0.5, 0.25], "same")[::2]
    assert np.corrcoef(low[:1600], smoothed[:1600])[0, 1] > 0.95


def test_it_needs_numpy_only() -> None:
    code = (
        "import sys, importlib.util as u\n"
        f"spec = u.spec_from_file_location('_seed', {SEED.__file__!r})\n"
        "module = u.module_from_spec(spec); spec.loader.exec_module(module)\n"
        "print(*{'torch', 'mlx', 'pytorch_to_mlx', 'safetensors'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
