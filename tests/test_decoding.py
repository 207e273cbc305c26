"""decoding/: the cache, transformers' processors, torch's draws, the token loop."""

from __future__ import annotations

import math
from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest

from pytorch_to_mlx.decoding import (
    KVCache,
    MinP,
    Processor,
    RepetitionPenalty,
    Sampler,
    Temperature,
    TopK,
    TopP,
    generate,
    greedy,
    sample,
)
from pytorch_to_mlx.errors import UsageError
from pytorch_to_mlx.noise import SeededNoise

# The processors: recorded from transformers 4.57.3 with input_ids [[2, 5, 5, 7]]; two logits are equal.

INF = math.inf
LOGITS = (1.5, -0.25, 3.0, 0.5, 3.0, -2.0, 0.75, 2.25)
SEEN = (2, 5, 7)
LLAMA_ORDER = (RepetitionPenalty(1.25), Temperature(0.8), MinP(0.1), TopP(0.9))
TURBO_ORDER = (Temperature(0.8), TopK(3), TopP(0.9), RepetitionPenalty(1.25))
RECORDED: list[tuple[tuple[Processor, ...], list[float]]] = [
    ((RepetitionPenalty(1.25),), [1.5, -0.25, 2.4, 0.5, 3.0, -2.5, 0.75, 1.8]),
    ((Temperature(0.8),), [1.875, -0.3125, 3.75, 0.625, 3.75, -2.5, 0.9375, 2.8125]),
    ((TopK(3),), [-INF, -INF, 3.0, -INF, 3.0, -INF, -INF, 2.25]),
    ((TopK(1),), [-INF, -INF, 3.0, -INF, 3.0, -INF, -INF, -INF]),
    ((TopK(99),), list(LOGITS)),
    ((TopP(0.9),), [1.5, -INF, 3.0, -INF, 3.0, -INF, -INF, 2.25]),
    ((TopP(0.3),), [-INF, -INF, -INF, -INF, 3.0, -INF, -INF, -INF]),
    ((TopP(0.0),), [-INF, -INF, -INF, -INF, 3.0, -INF, -INF, -INF]),
    ((TopP(1.0),), list(LOGITS)),
    ((MinP(0.1),), [1.5, -INF, 3.0, -INF, 3.0, -INF, 0.75, 2.25]),
    ((MinP(1.0),), [-INF, -INF, 3.0, -INF, 3.0, -INF, -INF, -INF]),
    (LLAMA_ORDER, [-INF, -INF, 3.0, -INF, 3.75, -INF, -INF, 2.25]),
    (TURBO_ORDER, [-INF, -INF, 3.0, -INF, 3.75, -INF, -INF, 2.25]),
]


def processed(processors: tuple[Processor, ...], logits: np.ndarray, seen: np.ndarray) -> np.ndarray:
    out = mx.array(logits)
    for process in processors:
        out = process(out, mx.array(seen))
    return np.array(out)


@pytest.mark.parametrize(("processors", "expected"), RECORDED, ids=lambda value: str(value)[:40])
def test_processors_give_what_transformers_gives(processors: tuple[Processor, ...], expected: list[float]) -> None:
    seen = np.isin(np.arange(8), SEEN)[None]
    out = processed(processors, np.array([LOGITS], np.float32), seen)
    np.testing.assert_allclose(out[0], expected, rtol=1e-6)


def test_rows_of_a_batch_are_processed_each_by_itself() -> None:
    logits = np.random.default_rng(0).standard_normal((3, 50)).astype(np.float32)
    seen = np.random.default_rng(1).random((3, 50)) < 0.3
    for processors in (LLAMA_ORDER, TURBO_ORDER):
        together = processed(processors, logits, seen)
        for row in range(3):
            alone = processed(processors, logits[row : row + 1], seen[row : row + 1])
            np.testing.assert_array_equal(together[row : row + 1], alone)


@pytest.mark.parametrize(
    "make",
    [lambda: Temperature(0), lambda: TopK(0), lambda: TopP(1.1), lambda: MinP(-0.1), lambda: RepetitionPenalty(0)],
)
def test_settings_out_of_range_are_refused(make: Callable[[], Processor]) -> None:
    with pytest.raises(UsageError, match="must be"):
        make()


# Draws


def test_sample_replays_torch_multinomial() -> None:
    """Recorded from torch 2.13: six draws from one generator, and what exponential_ gave before each."""
    p = [0.0, 0.0, 0.27860066294670105, 0.0, 0.5897976160049438, 0.0, 0.0, 0.13160164654254913]
    q = [
        [1.02726, 0.30078, 0.44758, 0.37853, 0.30941, 1.90669, 0.86583, 1.27313],
        [1.88004, 0.60344, 0.44335, 0.39411, 1.61591, 0.24667, 0.11771, 0.39911],
        [0.43592, 0.46474, 1.41731, 0.70894, 1.06421, 0.50677, 0.03738, 0.42869],
        [1.90349, 0.28565, 0.19253, 0.13895, 0.78598, 2.06516, 1.51338, 2.65581],
        [0.32811, 0.59035, 3.41036, 0.05503, 0.45124, 1.16443, 0.3574, 0.81821],
        [0.99933, 0.72078, 1.38378, 1.56639, 0.7651, 0.71783, 0.04917, 0.03974],
    ]
    assert sample(mx.array([p] * 6), mx.array(q)).tolist() == [4, 2, 4, 2, 4, 7]


def test_samples_are_as_frequent_as_their_probabilities() -> None:
    p = mx.array([0.5, 0.3, 0.15, 0.05, 0.0])
    draws = sample(mx.broadcast_to(p, (20000, 5)), SeededNoise(1).exponential("draws", 0, 20000, (5,)))
    counts = np.bincount(np.array(draws), minlength=5) / 20000
    np.testing.assert_allclose(counts, np.array(p), atol=0.012)  # 3.4 standard deviations
    assert counts[4] == 0


def test_greedy_takes_the_first_of_the_largest() -> None:
    assert greedy(mx.array([[1.0, 3.0, 3.0], [5.0, 1.0, 2.0]])).tolist() == [1, 0]


def test_a_sampler_remembers_what_it_drew() -> None:
    sampler = Sampler(4, [RepetitionPenalty(4.0)])
    logits = mx.array([[4.0, 3.0, 2.0, -1.0]])
    assert [int(sampler(logits)) for _ in range(4)] == [0, 1, 2, 0]  # the last: all but 3 are penalised


def test_a_prompt_counts_as_seen_for_good_or_for_one_draw() -> None:
    logits = mx.array([[4.0, 3.0, 2.0]])
    kept = Sampler(3, [RepetitionPenalty(4.0)], prompt=[0])
    assert [int(kept(logits)) for _ in range(2)] == [1, 2]
    once = Sampler(3, [RepetitionPenalty(4.0)], prompt=[0], keep_prompt=False)
    assert [int(once(logits)) for _ in range(2)] == [1, 0]


def test_sequences_of_a_batch_are_drawn_each_by_itself() -> None:
    """With noise, and a memory, of their own."""
    random = np.random.default_rng(0)
    logits, noise = (mx.array(random.gamma(1, size=(6, 3, 20)).astype(np.float32)) for _ in range(2))
    processors = (RepetitionPenalty(3.0), TopK(9))
    together = Sampler(20, processors, lambda draw: noise[draw], prompt=[1, 2], batch=3)
    found = [np.array(together(each)) for each in logits]
    for row in range(3):
        alone = Sampler(20, processors, lambda draw, row=row: noise[draw, row], prompt=[1, 2])
        assert [int(alone(each[row : row + 1])) for each in logits] == [int(tokens[row]) for tokens in found]


def test_a_sampler_draws_with_the_noise_of_its_position() -> None:
    noise = mx.array([[1.0, 1e-9, 1.0], [1e-9, 1.0, 1.0]])
    sampler = Sampler(3, exponential=lambda draw: noise[draw])
    assert [int(sampler(mx.zeros((1, 3)))) for _ in range(2)] == [1, 0]


# The loop


class Script:
    """A model that wants to say 1, 2, 3, ...; counts its steps."""

    def __init__(self) -> None:
        self.steps = 0

    def logits(self, token: int) -> mx.array:
        return (mx.arange(10) == token).astype(mx.float32)[None]

    def __call__(self, token: mx.array) -> mx.array:
        self.steps += 1
        return (mx.arange(10)[None] == token[:, None] + 1).astype(mx.float32)


def spoken(script: Script, **limits: int) -> list[int]:
    return list(generate(script, script.logits(1), greedy, **limits))


def test_tokens_come_until_stop() -> None:
    assert spoken(Script(), stop=5, max_tokens=9) == [1, 2, 3, 4]


def test_tokens_come_until_the_limit_without_a_step_too_many() -> None:
    script = Script()
    assert spoken(script, stop=9, max_tokens=3) == [1, 2, 3]
    assert script.steps == 2
    assert spoken(Script(), stop=9, max_tokens=0) == []
    assert spoken(Script(), stop=1, max_tokens=3) == []


def test_the_next_step_is_under_way_before_a_token_is_read() -> None:
    script = Script()
    tokens = generate(script, script.logits(1), greedy, stop=9, max_tokens=9)
    assert script.steps == 0
    for steps in (1, 2, 3):
        assert next(tokens) == steps and script.steps == steps


# The cache


def test_a_cache_holds_what_it_was_given() -> None:
    rng = np.random.default_rng(0)
    cache, held = KVCache(2), {0: [], 1: []}
    for count in (5, 1, 250, 1, 300, 1):  # past one block, and past two at once
        for layer in (0, 1):
            keys, values = (rng.standard_normal((2, 3, count, 4)).astype(np.float32) for _ in "kv")
            held[layer].append((keys, values))
            out = cache.update(layer, mx.array(keys), mx.array(values))
            for got, given in zip(out, zip(*held[layer], strict=True), strict=True):
                np.testing.assert_array_equal(np.array(got), np.concatenate(given, axis=2))
        cache.advance(count)
    assert cache.offset == 558


def test_a_trimmed_cache_goes_on_from_there() -> None:
    cache = KVCache(1)
    first, second = mx.full((1, 1, 4, 2), 1.0), mx.full((1, 1, 3, 2), 2.0)
    cache.update(0, first, first)
    cache.advance(4)
    cache.trim(3)
    keys, _ = cache.update(0, second, second)
    assert keys[0, 0, :, 0].tolist() == [1, 2, 2, 2]
    with pytest.raises(UsageError, match="holds 1"):
        cache.trim(2)


def test_what_a_cache_returned_stays_as_it_was() -> None:
    cache = KVCache(1)
    before, _ = cache.update(0, mx.full((1, 1, 2, 2), 1.0), mx.zeros((1, 1, 2, 2)))
    cache.update(0, mx.full((1, 1, 2, 2), 2.0), mx.zeros((1, 1, 2, 2)))
    assert before.min().item() == before.max().item() == 1


def test_an_empty_cache_has_no_buffers() -> None:
    cache = KVCache(2)
    cache.update(0, mx.zeros((1, 1, 2, 2)), mx.zeros((1, 1, 2, 2)))
    with pytest.raises(UsageError, match="layer 1"):
        cache.room()


def test_a_step_writes_in_place() -> None:
    """Memory tells: a step that copied would for a moment hold a buffer twice."""
    cache, buffers = KVCache(1), 2 * 64 * 256 * 64 * 4
    start = mx.get_active_memory()
    many, one = mx.ones((1, 64, 254, 64)), mx.ones((1, 64, 1, 64))
    mx.eval(one, cache.update(0, many, many))
    cache.advance(254)
    del many
    mx.reset_peak_memory()
    for _ in range(2):
        mx.eval([part.sum() for part in cache.update(0, one, one)])
        cache.advance(1)
    assert buffers < mx.get_peak_memory() - start < 1.25 * buffers
