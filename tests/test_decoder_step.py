"""components/decoder/step: what C++ computes at once is what MLX computes layer by layer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map_with_path
from test_decoder import BIASED, GPT2_LIKE, LLAMA_LIKE, QWEN2_LIKE, QWEN3_LIKE, close, embeddings, seeded

from pytorch_to_mlx.components.decoder import Decoder, DecoderConfig, network
from pytorch_to_mlx.components.decoder import step as step_module
from pytorch_to_mlx.components.decoder.step import step
from pytorch_to_mlx.decoding import KVCache
from pytorch_to_mlx.decoding.cache import BLOCK
from pytorch_to_mlx.errors import UsageError
from pytorch_to_mlx.layers import native
from pytorch_to_mlx.layers.device import can_compile, linux_cpu

pytestmark = pytest.mark.skipif(
    not (linux_cpu() and can_compile()), reason="needs the Linux CPU backend and g++: elsewhere MLX takes every step"
)

ODD = DecoderConfig(2, 36, 50, 6, 3, 22, rope_theta=10000.0, qk_norm=True, mlp_bias=True)
"""Nothing is a whole number of vectors."""
FORMS = {
    "llama": LLAMA_LIKE, "qwen2": QWEN2_LIKE, "qwen3": QWEN3_LIKE, "biased": BIASED, "gpt2": GPT2_LIKE, "odd": ODD,
}  # fmt: skip
HEADS = [(0, 3), (1, 1), (0, 0)]


def stepping(decoder: Decoder, x: mx.array) -> tuple[mx.array, mx.array]:
    """The last positions of `x` one by one, after the first nine at once: hidden states, and the last attention."""
    cache = KVCache(decoder.config.num_layers)
    hidden = [decoder(x[:, :9], cache)]
    attention = mx.array(0)
    for position in range(9, x.shape[1]):
        each, attention = decoder.attending(x[:, position : position + 1], cache, HEADS)
        hidden.append(each)
    return mx.concatenate(hidden, axis=1), attention


def without_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "step", lambda *_: None)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each call of a decoder with a past, whether it was one of C++."""
    taken: list[bool] = []

    def counted(*given: Any) -> Any:
        result = step(*given)
        taken.append(result is not None)
        return result

    monkeypatch.setattr(network, "step", counted)
    return taken


STEPPED = [False, *[True] * 5]
"""What `stepping` takes of fourteen positions: nine are too many for a step."""


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("form", FORMS)
def test_a_step_is_what_the_layers_compute(
    form: str, batch: int, threads: int, taken: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder, x = seeded(FORMS[form]), embeddings(batch, 14, FORMS[form].hidden_size)
    monkeypatch.setattr(step_module, "usable_cores", lambda: threads)
    hidden, attention = stepping(decoder, x)
    assert taken == STEPPED
    without_step(monkeypatch)
    wanted, weights = stepping(decoder, x)
    close(hidden, wanted, 3e-6)
    close(attention, weights, 3e-6)
    assert attention.shape == (batch, 3, 1, 14)
    close(decoder(x), hidden, 3e-6)


@pytest.mark.parametrize(
    ("batch", "positions"), [(1, 2), (1, 3), (1, 8), (2, 2), (3, 1), (4, 2), (5, 1), (6, 1), (7, 1)]
)
@pytest.mark.parametrize("form", FORMS)
def test_several_positions_of_several_sequences(
    form: str, batch: int, positions: int, taken: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an emptied cache, behind a past, and over the end of a block; with padding where positions allow it."""
    config = FORMS[form]
    decoder, x = seeded(config), embeddings(batch, 40, config.hidden_size)
    padding = [(3 * row) % 5 for row in range(batch)] if config.max_positions is None else []
    monkeypatch.setattr("pytorch_to_mlx.decoding.cache.BLOCK", 16)

    def parts() -> list[mx.array]:
        cache = KVCache(config.num_layers, padding)
        decoder(x, cache)
        cache.trim(40)
        first = [] if any(padding) else [decoder(x[:, :positions], cache)]
        cache.trim(cache.offset)
        decoder(x[:, : 16 - positions], cache)
        ends = [16 - positions + positions * i for i in range(4)]
        return first + [decoder(x[:, end : end + positions], cache) for end in ends]

    ours = parts()
    assert taken[0] is False and all(taken[-4:]) and taken.count(True) >= len(ours)
    without_step(monkeypatch)
    for found, wanted in zip(ours, parts(), strict=True):
        close(found, wanted, 3e-6)


@pytest.mark.parametrize(("batch", "positions"), [(1, 1), (1, 3), (1, 8), (2, 4), (8, 1)])
@pytest.mark.parametrize("form", FORMS)
def test_a_short_beginning_is_a_step(form: str, batch: int, positions: int, taken: list[bool]) -> None:
    """Of a cache that has no memory yet."""
    config = FORMS[form]
    decoder, x = seeded(config), embeddings(batch, positions + 1, config.hidden_size)
    cache = KVCache(config.num_layers)
    parts = [decoder(x[:, :positions], cache), decoder(x[:, positions:], cache)]
    assert taken == [True, True] and cache.offset == positions + 1
    close(mx.concatenate(parts, axis=1), decoder(x), 3e-6)


@pytest.mark.parametrize("form", FORMS)
def test_every_parameter_counts(form: str, taken: list[bool]) -> None:
    """A step reads each of them, from where it is."""
    decoder, x = seeded(FORMS[form]), embeddings(1, 1, FORMS[form].hidden_size)
    past = KVCache(decoder.config.num_layers)
    mx.eval(decoder(embeddings(1, 9, FORMS[form].hidden_size), past))
    parameters = decoder.parameters()

    def stepped() -> np.ndarray:
        y = np.array(decoder(x, past))
        past.trim(1)
        return y

    before = stepped()
    names = [name for name, _ in tree_flatten(parameters) if name != "wpe.weight"]
    still = []
    for name in names:
        decoder.update(tree_map_with_path(partial(changed, name), parameters))
        if np.abs(stepped() - before).max() < 1e-5:
            still.append(name)
    assert not still
    decoder.update(parameters)
    np.testing.assert_array_equal(stepped(), before)
    assert taken == [False, *[True] * (len(names) + 2)]


def changed(name: str, path: str, parameter: mx.array) -> mx.array:
    return parameter * 1.5 + 0.1 if path == name else parameter


# The past


def test_the_past_grows_and_is_shared_with_mlx(taken: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the end of a block of the cache, steps of both kinds and more positions at once, in turns."""
    decoder, x = seeded(QWEN3_LIKE), embeddings(2, BLOCK + 6)
    cache = KVCache(decoder.config.num_layers)
    parts = [decoder(x[:, : BLOCK - 3], cache)]
    for position in range(BLOCK - 3, BLOCK + 2):
        parts.append(decoder(x[:, position : position + 1], cache))
    assert taken == STEPPED
    with monkeypatch.context() as patch:
        without_step(patch)
        parts.append(decoder(x[:, BLOCK + 2 : BLOCK + 3], cache))
        parts.append(decoder(x[:, BLOCK + 3 : BLOCK + 5], cache))
    parts.append(decoder(x[:, BLOCK + 5 :], cache))
    assert taken == [*STEPPED, True]
    close(mx.concatenate(parts, axis=1), decoder(x), 3e-6)


def test_one_input_for_both_sequences(taken: list[bool]) -> None:
    """What guidance gives a step: the memory of one, seen twice."""
    decoder, past = seeded(LLAMA_LIKE), embeddings(2, 7)
    cache = KVCache(LLAMA_LIKE.num_layers)
    decoder(past, cache)
    x = mx.broadcast_to(embeddings(1, 1), (2, 1, 64))
    close(decoder(x, cache), decoder(mx.concatenate([past, x], axis=1))[:, 7:], 3e-6)
    assert taken == [False, True]


def test_a_trimmed_past_is_written_again(taken: list[bool]) -> None:
    decoder, x = seeded(LLAMA_LIKE), embeddings(1, 9)
    cache = KVCache(decoder.config.num_layers)
    decoder(x[:, :7], cache)
    decoder(x[:, 8:], cache)
    cache.trim(1)
    close(decoder(x[:, 7:8], cache), decoder(x[:, :8])[:, 7:], 3e-6)
    assert taken == [True, True, True]


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy])
@pytest.mark.parametrize("steps", [0, 1])
def test_a_copied_past_goes_on_by_itself(twin: Callable[[KVCache], KVCache], steps: int) -> None:
    """As a prompt is used again, or a beam branches."""
    decoder, x = seeded(LLAMA_LIKE), embeddings(1, 12)
    one = KVCache(LLAMA_LIKE.num_layers)
    decoder(x[:, : 7 - steps], one)
    for position in range(7 - steps, 7):
        decoder(x[:, position : position + 1], one)
    other = twin(one)
    first, second = x[:, 7:9], x[:, 9:11]
    for position in (0, 1):
        ours = decoder(first[:, position : position + 1], one)
        theirs = decoder(second[:, position : position + 1], other)
    close(ours, decoder(mx.concatenate([x[:, :7], first], axis=1))[:, 8:], 3e-6)
    close(theirs, decoder(mx.concatenate([x[:, :7], second], axis=1))[:, 8:], 3e-6)


def test_what_is_yet_to_be_computed_does_not_change() -> None:
    decoder, x = seeded(LLAMA_LIKE), embeddings(1, 10)
    caches = [KVCache(LLAMA_LIKE.num_layers) for _ in range(2)]
    wanted, late = (decoder.attending(x[:, :9], cache, HEADS)[1] for cache in caches)
    mx.eval(wanted)
    caches[1].trim(3)
    mx.eval(decoder(x[:, 9:], caches[1]))
    np.testing.assert_array_equal(np.array(late), np.array(wanted))


# What is left to MLX


def half(decoder: Decoder) -> None:
    decoder.set_dtype(mx.float16)


def quantized(decoder: Decoder) -> None:
    nn.quantize(decoder, group_size=32, bits=8)


def transposed(decoder: Decoder) -> None:
    linear = decoder.layers[1].mlp.down_proj
    linear.weight = mx.contiguous(linear.weight.T).T


@pytest.mark.parametrize("change", [half, quantized, transposed])
def test_other_weights(change: Callable[[Decoder], None], taken: list[bool]) -> None:
    decoder = seeded(LLAMA_LIKE)
    change(decoder)
    x = embeddings(1, 14).astype(mx.float16 if change is half else mx.float32)
    hidden, _ = stepping(decoder, x)
    assert taken == [False] * 6
    close(hidden, decoder(x), 5e-3 if change is half else 1e-5)


def test_weights_of_a_wrong_shape_are_told_by_mlx() -> None:
    decoder, cache = seeded(LLAMA_LIKE), KVCache(LLAMA_LIKE.num_layers)
    decoder(embeddings(1, 5), cache)
    decoder.layers[2].mlp.down_proj.weight = mx.zeros((64, 95))
    with pytest.raises(ValueError, match="shape"):
        mx.eval(decoder(embeddings(1, 1), cache))


@pytest.mark.parametrize(("batch", "positions"), [(9, 1), (3, 3)])
def test_more_than_eight_positions(batch: int, positions: int, taken: list[bool]) -> None:
    decoder, x = seeded(LLAMA_LIKE), embeddings(batch, 7 + positions)
    cache = KVCache(LLAMA_LIKE.num_layers)
    decoder(x[:, :7], cache)
    close(decoder(x[:, 7:], cache), decoder(x)[:, 7:], 3e-6)
    assert taken == [False, False]


@pytest.mark.parametrize("piece", [1, 2, 4])
def test_positions_within_the_padding(piece: int, taken: list[bool]) -> None:
    """Are MLX's: there, a position sees itself alone."""
    decoder, x = seeded(LLAMA_LIKE), embeddings(2, 12)
    cache = KVCache(LLAMA_LIKE.num_layers, [5, 0])
    decoder(x, cache)
    cache.trim(12)  # its memory stays
    parts = [decoder(x[:, start : start + piece], cache) for start in range(0, 12, piece)]
    assert taken == [False] + [start >= 5 for start in range(0, 12, piece)]
    found = mx.concatenate(parts, axis=1)
    for row, before in ((0, 5), (1, 0)):
        close(found[row : row + 1, before:], decoder(x[row : row + 1, before:]), 3e-6)


def test_attention_of_several_positions_and_of_padded_sequences(taken: list[bool]) -> None:
    decoder, x = seeded(LLAMA_LIKE), embeddings(2, 9)
    for padding, ends in (((), (7, 9)), ((2, 0), (7, 8))):
        cache = KVCache(LLAMA_LIKE.num_layers, padding)
        decoder(x[:, : ends[0]], cache)
        _, attention = decoder.attending(x[:, ends[0] : ends[1]], cache, HEADS)
        assert attention.shape == (2, 3, ends[1] - ends[0], ends[1])
        for row, before in enumerate(padding):
            assert not attention[row, ..., :before].any() and attention[row, ..., before:].all()
    assert not any(taken)


def test_another_device(taken: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_module, "linux_cpu", lambda: False)
    decoder, x = seeded(LLAMA_LIKE), embeddings(1, 14)
    close(stepping(decoder, x)[0], decoder(x), 3e-6)
    assert taken == [False] * 6


def test_no_library(taken: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "library", lambda: None)
    decoder, x = seeded(LLAMA_LIKE), embeddings(1, 14)
    close(stepping(decoder, x)[0], decoder(x), 3e-6)
    assert taken == [False] * 6


def test_inside_a_transformation(taken: list[bool]) -> None:
    decoder, x = seeded(LLAMA_LIKE), embeddings(1, 8)
    cache = KVCache(LLAMA_LIKE.num_layers)
    decoder(x[:, :7], cache)
    close(mx.compile(lambda x: decoder(x, cache))(x[:, 7:]), decoder(x)[:, 7:], 3e-6)
    assert taken == [True, False]

    def all_of_it(x: mx.array) -> mx.array:
        past = KVCache(LLAMA_LIKE.num_layers)
        decoder(x[:, :7], past)
        return decoder(x[:, 7:], past)

    close(mx.compile(all_of_it)(x), decoder(x)[:, 7:], 3e-6)
    assert taken == [True, False, False, False]


# Threads and numbers


def test_fewer_layers_than_were_configured(taken: list[bool]) -> None:
    decoder, x = seeded(LLAMA_LIKE), embeddings(1, 12)
    decoder.layers = decoder.layers[:2]
    cache = KVCache(2)
    parts = [decoder(x[:, :11], cache), decoder(x[:, 11:], cache)]
    close(mx.concatenate(parts, axis=1), decoder(x), 3e-6)
    assert taken == [False, True]


def test_heads_that_there_are_not() -> None:
    decoder = seeded(LLAMA_LIKE)
    for head in [(0, 4), (3, 0), (-1, 0), (0, -1)]:
        with pytest.raises(UsageError, match=f"head {head[1]} of layer {head[0]} "):
            decoder.attending(embeddings(1, 2), None, [head])


def test_a_share_of_other_work_is_done_by_one_thread(taken: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_module, "on_one_core", lambda: True)
    monkeypatch.setattr(step_module, "usable_cores", lambda: pytest.fail("asked for more"))
    decoder, x = seeded(LLAMA_LIKE), embeddings(1, 14)
    close(stepping(decoder, x)[0], decoder(x), 3e-6)
    assert taken == STEPPED


def test_lacking_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, cache = seeded(LLAMA_LIKE), KVCache(LLAMA_LIKE.num_layers)
    decoder(embeddings(1, 7), cache)
    monkeypatch.setattr(step_module, "MOST_THREADS", 2**60)
    monkeypatch.setattr(step_module, "usable_cores", lambda: 2**60)
    for past, held in ((cache, 7), (KVCache(LLAMA_LIKE.num_layers), 0)):
        with pytest.raises(MemoryError, match="threads of a step"):
            decoder(embeddings(1, 1), past)
        assert past.offset == held


def test_one_model_in_several_threads(taken: list[bool]) -> None:
    decoder = seeded(QWEN3_LIKE)
    inputs = [embeddings(2, 14) * (1 + i) for i in range(4)]
    wanted = [np.array(stepping(decoder, x)[0]) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for got, expected in zip(pool.map(lambda x: np.array(stepping(decoder, x)[0]), inputs), wanted, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    assert sorted(taken) == sorted(STEPPED * 8)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e25])
def test_what_is_no_number_stays_none(value: float, taken: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, x = seeded(LLAMA_LIKE), np.array(embeddings(2, 14))
    x[1, 9, 5] = value
    hidden, _ = stepping(decoder, mx.array(x))
    assert taken == STEPPED
    without_step(monkeypatch)
    wanted, _ = stepping(decoder, mx.array(x))
    np.testing.assert_allclose(np.array(hidden), np.array(wanted), rtol=1e-4, atol=1e-5)


def test_a_mean_far_from_zero_keeps_its_digits(taken: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """Layer norm takes the mean away before it squares."""
    decoder, x = seeded(GPT2_LIKE), embeddings(1, 14) + 300
    hidden, _ = stepping(decoder, x)
    assert taken == STEPPED
    without_step(monkeypatch)
    close(hidden, stepping(decoder, x)[0], 1e-4)
