"""noise.py: streams that depend on seed, name and position only."""

from __future__ import annotations

import time
from itertools import pairwise

import mlx.core as mx
import numpy as np
import pytest

from pytorch_to_mlx.errors import ParityError
from pytorch_to_mlx.noise import BLOCK, Noise, ReplayedNoise, SeededNoise

KINDS = ("normal", "uniform", "exponential")
SHAPES = ((), (9,), (80,), (BLOCK + 1,))


def drawn(noise: Noise, kind: str, name: str, start: int, count: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.array(getattr(noise, kind)(name, start, count, shape))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_stream_is_the_same_in_one_piece_and_in_parts(kind: str, shape: tuple[int, ...]) -> None:
    count = 2 * max(1, BLOCK // max(1, int(np.prod(shape)))) + 3
    whole = drawn(SeededNoise(7), kind, "flow", 0, count, shape)
    assert whole.shape == (count, *shape) and whole.dtype == np.float32
    cuts = sorted({0, 1, count // 3, count - 2, count})
    parts = [drawn(SeededNoise(7), kind, "flow", a, b - a, shape) for a, b in pairwise(cuts)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(drawn(SeededNoise(7), kind, "flow", count // 2, 0, shape), whole[:0])


def test_seeds_names_kinds_and_positions_have_noise_of_their_own() -> None:
    seeds = (0, 1, -1, 2**32, 2**64, 2**64 + 1)
    draws = [drawn(SeededNoise(seed), "uniform", name, 0, 32, ()) for seed in seeds for name in ("a", "b")]
    draws += [drawn(SeededNoise(0), "uniform", "a", start, 32, ()) for start in (32, BLOCK, 2 * BLOCK)]
    draws.append(drawn(SeededNoise(0), "normal", "a", 0, 32, ()))
    assert len({draw.tobytes() for draw in draws}) == len(draws)


def test_distributions() -> None:
    noise = SeededNoise(3)
    normal, uniform, exponential = (drawn(noise, kind, "x", 0, 2000, (100,)) for kind in KINDS)
    assert abs(normal.mean()) < 0.01 and abs(normal.std() - 1) < 0.01
    assert uniform.min() >= 0 and uniform.max() < 1 and abs(uniform.mean() - 0.5) < 0.005
    assert exponential.min() > 0 and np.isfinite(exponential).all()
    assert abs(exponential.mean() - 1) < 0.01 and abs(exponential.std() - 1) < 0.02
    neighbours = np.corrcoef(normal[:-1].ravel(), normal[1:].ravel())[0, 1]  # across frames and blocks
    assert abs(neighbours) < 0.01


def test_far_into_a_stream_costs_no_more_than_its_start() -> None:
    noise = SeededNoise(0)
    mx.eval(noise.uniform("x", 0, 10, (9,)))
    started = time.perf_counter()
    mx.eval(noise.uniform("x", 10**9, 10, (9,)))
    assert time.perf_counter() - started < 0.5


def test_replayed_noise_is_what_was_recorded() -> None:
    frames = np.arange(12, dtype=np.float32).reshape(4, 3)
    noise = ReplayedNoise({"flow": frames})
    for kind in KINDS:
        np.testing.assert_array_equal(drawn(noise, kind, "flow", 1, 2, (3,)), frames[1:3])


@pytest.mark.parametrize(
    ("name", "start", "shape", "said"),
    [
        ("other", 0, (3,), r"no noise 'other'; it has flow"),
        ("flow", 3, (3,), r"\(4, 3\) in the recording; \(5, 3\) is needed"),
        ("flow", 0, (2,), r"\(2, 2\) is needed"),
    ],
)
def test_a_recording_that_does_not_fit_is_refused(name: str, start: int, shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(ParityError, match=said):
        ReplayedNoise({"flow": np.zeros((4, 3), np.float32)}).normal(name, start, 2, shape)
