"""components/decoder/step: what C++ computes at once is what MLX computes layer by layer."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map, tree_map_with_path
from test_decoder import BIASED, GPT2_LIKE, LLAMA_LIKE, QWEN2_LIKE, QWEN3_LIKE, close, embeddings
from test_decoder import seeded as converted

from pytorch_to_mlx.components.decoder import Decoder, DecoderConfig, network
from pytorch_to_mlx.components.decoder import step as step_module
from pytorch_to_mlx.decoding import KVCache
from pytorch_to_mlx.decoding.cache import BLOCK
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


def seeded(config: DecoderConfig) -> Decoder:
    """With weights one value after the other, as a folder's are."""
    decoder = converted(config)
    decoder.update(tree_map(mx.contiguous, decoder.parameters()))
    return decoder


def stepping(decoder: Decoder, x: mx.array, heads: list[tuple[int, int]]) -> tuple[mx.array, mx.array]:
    """The last positions of `x` one by one, after the first seven at once: hidden states, and the last attention."""
    cache = KVCache(decoder.config.num_layers)
    hidden = [decoder(x[:, :7], cache)]
    attention = mx.array(0)
    for position in range(7, x.shape[1]):
        each, attention = decoder.attending(x[:, position : position + 1], cache, heads)
        hidden.append(each)
    return mx.concatenate(hidden, axis=1), attention


def without_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "step", lambda *_: None)


def count_steps(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each step was taken in C++."""
    taken: list[bool] = []

    def counted(*given: object) -> object:
        result = step_module.step(*given)  # pyright: ignore[reportArgumentType]
        taken.append(result is not None)
        return result

    monkeypatch.setattr(network, "step", counted)
    return taken


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("form", FORMS)
def test_a_step_is_what_the_layers_compute(
    form: str, batch: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder, x = seeded(FORMS[form]), embeddings(batch, 12, FORMS[form].hidden_size)
    monkeypatch.setattr(step_module, "usable_cores", lambda: threads)
    taken = count_steps(monkeypatch)
    hidden, attention = stepping(decoder, x, HEADS)
    assert taken == [False] + [True] * 5
    without_step(monkeypatch)
    wanted, weights = stepping(decoder, x, HEADS)
    close(hidden, wanted, 3e-6)
    close(attention, weights, 3e-6)
    assert attention.shape == (batch, 3, 1, 12)
    close(decoder(x), hidden, 3e-6)


def changed(name: str, path: str, parameter: mx.array) -> mx.array:
    return parameter * 1.5 + 0.1 if path == name else parameter


@pytest.mark.parametrize("form", FORMS)
def test_every_parameter_counts(form: str) -> None:
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
        changed = tree_map_with_path(
            lambda path, each, name=name: each * 1.5 + 0.1 if path == name else each, parameters
        )
        decoder.update(changed)
        if np.abs(stepped() - before).max() < 1e-5:
            still.append(name)
    assert not still
    decoder.update(parameters)
    np.testing.assert_array_equal(stepped(), before)


def test_the_past_grows_and_is_shared_with_mlx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the end of a block of the cache, steps of both kinds and more positions at once, in turns."""
    decoder, x = seeded(QWEN3_LIKE), embeddings(2, BLOCK + 6)
    cache = KVCache(decoder.config.num_layers)
    parts = [decoder(x[:, : BLOCK - 3], cache)]
    taken = count_steps(monkeypatch)
    for position in range(BLOCK - 3, BLOCK + 2):
        parts.append(decoder(x[:, position : position + 1], cache))
    assert all(taken)
    without_step(monkeypatch)
    parts.append(decoder(x[:, BLOCK + 2 : BLOCK + 3], cache))
    parts.append(decoder(x[:, BLOCK + 3 :], cache))
    close(mx.concatenate(parts, axis=1), decoder(x), 3e-6)


def test_one_input_for_both_sequences() -> None:
    """What guidance gives a step: the memory of one, seen twice."""
    decoder, past = seeded(LLAMA_LIKE), embeddings(2, 7)
    cache = KVCache(LLAMA_LIKE.num_layers)
    decoder(past, cache)
    x = mx.broadcast_to(embeddings(1, 1), (2, 1, 64))
    close(decoder(x, cache), decoder(mx.concatenate([past, x], axis=1))[:, 7:], 3e-6)


def test_a_trimmed_past_is_written_again() -> None:
    decoder, x = seeded(LLAMA_LIKE), embeddings(1, 9)
    cache = KVCache(decoder.config.num_layers)
    decoder(x[:, :7], cache)
    decoder(x[:, 8:], cache)
    cache.trim(1)
    close(decoder(x[:, 7:8], cache), decoder(x[:, :8])[:, 7:], 3e-6)


def half(decoder: Decoder) -> None:
    decoder.set_dtype(mx.float16)


def quantized(decoder: Decoder) -> None:
    nn.quantize(decoder, group_size=32, bits=8)


def transposed(decoder: Decoder) -> None:
    linear = decoder.layers[1].mlp.down_proj
    linear.weight = mx.contiguous(linear.weight.T).T


@pytest.mark.parametrize("change", [half, quantized, transposed])
def test_other_weights_are_left_to_mlx(change: Callable[[Decoder], None], monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = seeded(LLAMA_LIKE)
    change(decoder)
    x = embeddings(1, 9).astype(mx.float16 if change is half else mx.float32)
    taken = count_steps(monkeypatch)
    hidden, _ = stepping(decoder, x, HEADS)
    assert not any(taken)
    assert np.isfinite(np.array(hidden.astype(mx.float32))).all()


def test_weights_of_a_wrong_shape_are_told_by_mlx() -> None:
    decoder, cache = seeded(LLAMA_LIKE), KVCache(LLAMA_LIKE.num_layers)
    decoder(embeddings(1, 5), cache)
    decoder.layers[2].mlp.down_proj.weight = mx.zeros((64, 95))
    with pytest.raises(ValueError, match="shape"):
        mx.eval(decoder(embeddings(1, 1), cache))


def test_more_sequences_are_left_to_mlx(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = seeded(LLAMA_LIKE)
    taken = count_steps(monkeypatch)
    hidden, _ = stepping(decoder, embeddings(3, 9), HEADS)
    assert not any(taken)
    close(hidden, decoder(embeddings(3, 9)), 3e-6)


def test_inside_a_transformation_it_is_mlx_s() -> None:
    decoder, x = seeded(LLAMA_LIKE), embeddings(1, 8)
    cache = KVCache(LLAMA_LIKE.num_layers)
    decoder(x[:, :7], cache)
    got = mx.compile(lambda x: decoder(x, cache))(x[:, 7:])
    close(got, decoder(x)[:, 7:], 3e-6)


def test_a_share_of_other_work_is_done_by_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_module, "on_one_core", lambda: True)
    monkeypatch.setattr(step_module, "usable_cores", lambda: pytest.fail("asked for more"))
    decoder, x = seeded(LLAMA_LIKE), embeddings(1, 9)
    close(stepping(decoder, x, HEADS)[0], decoder(x), 3e-6)


def test_without_a_library_it_is_mlx_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "library", lambda: None)
    taken = count_steps(monkeypatch)
    decoder, x = seeded(LLAMA_LIKE), embeddings(1, 9)
    close(stepping(decoder, x, HEADS)[0], decoder(x), 3e-6)
    assert not any(taken)


def test_a_mean_far_from_zero_keeps_its_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layer norm takes the mean away before it squares."""
    decoder, x = seeded(GPT2_LIKE), embeddings(1, 9) + 300
    hidden, _ = stepping(decoder, x, HEADS)
    without_step(monkeypatch)
    close(hidden, stepping(decoder, x, HEADS)[0], 1e-4)
