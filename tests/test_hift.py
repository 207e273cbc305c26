"""The HiFT vocoder without torch: its maths against float64, its weights' accounting, pieces against the whole."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
import upstream_shapes
from held import Held
from mlx.utils import tree_map
from small_ports import SEED

from pytorch_to_mlx.components.hift import HOP, RATE, WEIGHTS, HiFT, network
from pytorch_to_mlx.components.hift.source import SineGen
from pytorch_to_mlx.errors import WeightMapError
from pytorch_to_mlx.layers.snake import Snake
from pytorch_to_mlx.port import parameter_shapes

Shape = tuple[int, ...]


@pytest.fixture(scope="module")
def tensors() -> Held:
    return Held(SEED.hift_weights(upstream_shapes.hift()))


@pytest.fixture(scope="module")
def vocoder() -> HiFT:
    return upstream_shapes.seeded_hift()


def noise(shape: Shape, seed: int = 0) -> mx.array:
    return mx.random.normal(shape, key=mx.random.key(seed))


def mel(frames: int) -> mx.array:
    return 1.5 * noise((1, frames, 80)) - 4


# Weights


def test_every_tensor_is_used_and_every_parameter_filled(tensors: Held) -> None:
    assert len(tensors) == 328
    shapes = parameter_shapes(HiFT())
    plan = WEIGHTS.plan(tensors, shapes)
    assert {row.source for row in plan.table()} == set(tensors)
    assert {spec.name: spec.shape for spec in plan.outputs} == shapes


@pytest.mark.parametrize("name", ["ups.1.parametrizations.weight.original0", "source_resblocks.2.activations2.1.alpha"])
def test_a_missing_tensor_is_named(tensors: Held, name: str) -> None:
    rest = Held({other: value for other, value in tensors.items() if other != name})
    with pytest.raises(WeightMapError) as error:
        WEIGHTS.plan(rest, parameter_shapes(HiFT()))
    assert any(name.rpartition(".parametrizations")[0] or name in problem for problem in error.value.problems)


# The source


def sine(f0: mx.array, phase: mx.array, breath: mx.array) -> mx.array:
    return SineGen()(f0, phase, breath, mx.zeros((1, 9), mx.uint32))[0]


def exact_phases(f0: np.ndarray) -> np.ndarray:
    """Cycles of each harmonic at each sample in float64, from float32 steps per sample: (T * 480, 9)."""
    harmonics = np.arange(1, 10, dtype=np.float32)
    steps = (f0.astype(np.float32)[:, None] * harmonics / np.float32(RATE)).astype(np.float64)
    return np.cumsum(np.repeat(steps, HOP, axis=0), axis=0)


def test_the_phase_is_exact_after_forty_seconds() -> None:
    f0 = np.random.default_rng(0).uniform(80, 400, 2000)
    phase = np.random.default_rng(1).uniform(-np.pi, np.pi, 9)
    cycles = exact_phases(f0)
    start = np.where(np.arange(9) > 0, phase, 0)
    expected = 0.1 * np.sin(2 * np.pi * cycles + start)
    silent = mx.zeros((1, len(cycles), 9))
    sines = np.array(sine(mx.array(f0[None], mx.float32), mx.array(phase[None], mx.float32), silent))[0]
    assert np.abs(sines - expected).max() < 2e-7
    naive = np.cumsum(np.repeat(np.float32(f0 / RATE), HOP), dtype=np.float32)
    assert np.abs(np.sin(2 * np.pi * naive) - np.sin(2 * np.pi * cycles[:, 0])).max() > 1e-2


def test_frames_of_ten_hertz_or_less_are_noise() -> None:
    f0 = mx.array([[10.0, 10.1, 0.0]])
    sines = sine(f0, mx.zeros((1, 9)), noise((1, 3 * HOP, 9))).reshape(3, -1)
    spread = np.array(mx.std(sines, axis=1))
    np.testing.assert_allclose(spread[[0, 2]], 0.1 / 3, rtol=0.05)
    assert np.abs(sines[0] * 30 - noise((1, 3 * HOP, 9)).reshape(3, -1)[0]).max() < 1e-5
    assert spread[1] > 0.05


def test_the_fundamental_starts_at_zero_whatever_phase_is_given() -> None:
    f0, silent = mx.full((1, 1), 100.0), mx.zeros((1, HOP, 9))
    one, other = (sine(f0, mx.full((1, 9), phase), silent) for phase in (0.0, 1.0))
    assert mx.array_equal(one[..., 0], other[..., 0])
    assert not mx.allclose(one[..., 1], other[..., 1], atol=1e-3)


def test_a_source_in_parts_is_the_whole(vocoder: HiFT) -> None:
    f0, breath = 200 + 50 * noise((1, 30)), noise((1, 30 * HOP, 9))
    phase, turns, parts = noise((1, 9), 1), None, []
    for start, end in ((0, 1), (1, 20), (20, 30)):
        part, turns = vocoder.excite_on(f0[:, start:end], phase, breath[:, start * HOP : end * HOP], turns)
        parts.append(part)
    assert mx.abs(mx.concatenate(parts, axis=1) - vocoder.excite(f0, phase, breath)).max() < 1e-6


# Snake


def test_snake_is_exact_on_either_path() -> None:
    snake = Snake(64)
    snake.alpha = mx.exp(noise((64,), 1))
    x = 5 * noise((1, 2000, 64))
    wide = np.array(x, np.float64)
    alpha = np.array(snake.alpha, np.float64)
    expected = wide + np.sin(alpha * wide) ** 2 / (alpha + 1e-9)
    assert np.abs(np.array(snake(x)) - expected).max() < 5e-6
    snake.alpha = mx.array([0.0, 1e-9, 1e-6, -2.0] * 16)
    native = x + mx.square(mx.sin(x * snake.alpha)) / (snake.alpha + 1e-9)
    assert mx.abs(snake(x) - native).max() < 5e-6


def test_snake_takes_half_precision() -> None:
    snake, x = Snake(64), noise((1, 20, 64))
    expected = x + mx.square(mx.sin(x))
    assert mx.abs(snake(x.astype(mx.bfloat16)).astype(mx.float32) - expected).max() < 0.05


# The vocoder


@pytest.mark.parametrize("frames", [1, 7])
def test_shapes(vocoder: HiFT, frames: int) -> None:
    samples = frames * HOP
    f0 = vocoder.predict_f0(mel(frames))
    source = vocoder.excite(f0, mx.zeros((1, 9)), noise((1, samples, 9)))
    wav = vocoder.decode(mel(frames), source)
    assert (f0.shape, source.shape, wav.shape) == ((1, frames), (1, samples, 1), (1, samples))
    assert mx.array_equal(vocoder(mel(frames), mx.zeros((1, 9)), noise((1, samples, 9))), wav)


def test_seeded_weights_speak(vocoder: HiFT) -> None:
    f0 = vocoder.predict_f0(mel(60))
    assert mx.mean((f0 > 80) & (f0 < 400)) > 0.5 and mx.std(f0) > 20
    wav = vocoder.decode(mel(60), 0.1 * noise((1, 60 * HOP, 1)))
    assert 0.03 < mx.sqrt(mx.mean(wav**2)) < 0.5 and mx.mean(mx.abs(wav) < 0.99) > 0.98


def test_loud_audio_is_cut_at_the_limit(vocoder: HiFT) -> None:
    bias = vocoder.conv_post.bias
    vocoder.conv_post.bias = bias + 5
    wav = vocoder.decode(mel(4), 0.1 * noise((1, 4 * HOP, 1)))
    vocoder.conv_post.bias = bias
    assert float(mx.abs(wav).max()) == pytest.approx(0.99)


def test_pieces_are_the_whole(vocoder: HiFT, monkeypatch: pytest.MonkeyPatch) -> None:
    source = 0.1 * noise((1, 12 * HOP, 1))
    whole = vocoder.decode(mel(12), source)
    monkeypatch.setattr(network, "PIECE", 64 * 700)
    assert mx.abs(vocoder.decode(mel(12), source) - whole).max() < 1e-6
    monkeypatch.setattr(network, "REACH", network.REACH // 2)
    assert mx.abs(vocoder.decode(mel(12), source) - whole).max() > 1e-6


def test_a_chunk_with_context_is_part_of_the_whole(vocoder: HiFT) -> None:
    """What a streamer relies on."""
    source = 0.1 * noise((1, 60 * HOP, 1))
    whole = vocoder.decode(mel(60), source)
    first, last = 24, 36
    near = slice(first - network.CONTEXT, last + network.CONTEXT)
    chunk = vocoder.decode(mel(60)[:, near], source[:, near.start * HOP : near.stop * HOP])
    kept = chunk[:, network.CONTEXT * HOP : (network.CONTEXT + last - first) * HOP]
    assert mx.abs(kept - whole[:, first * HOP : last * HOP]).max() < 1e-5


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_weights_give_float32_audio(vocoder: HiFT, dtype: mx.Dtype) -> None:
    half = HiFT()
    half.update(tree_map(lambda p: p.astype(dtype), vocoder.parameters()))
    f0 = half.predict_f0(mel(5))
    source = half.excite(f0, mx.zeros((1, 9)), noise((1, 5 * HOP, 9)))
    wav = half.decode(mel(5), source)
    assert f0.dtype == source.dtype == wav.dtype == mx.float32
    whole = vocoder.decode(mel(5), source)
    assert mx.sqrt(mx.mean((wav - whole) ** 2) / mx.mean(whole**2)) < 0.3
