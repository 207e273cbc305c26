"""components/decoder with cross-attention: against torch's own formula in numpy, step by step, and in C++."""

from __future__ import annotations

import copy
from functools import partial

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map_with_path
from test_decoder import SEED, close, embeddings
from test_decoder_step import changed, taken, without_step

from pytorch_to_mlx.components.decoder import Decoder, DecoderConfig
from pytorch_to_mlx.decoding import KVCache
from pytorch_to_mlx.errors import ConfigError, UsageError
from pytorch_to_mlx.layers.device import can_compile, linux_cpu

__all__ = ["taken"]

CONFIG = DecoderConfig(
    3, 36, 50, 6, 6, 6, norm="layer", mlp="gelu", qkv_bias=True, output_bias=True, mlp_bias=True, max_positions=32,
    cross_attention=True,
)  # fmt: skip
in_cpp = pytest.mark.skipif(not (linux_cpu() and can_compile()), reason="steps in C++ need the Linux CPU backend, g++")


def seeded() -> Decoder:
    decoder = Decoder(CONFIG)
    flat: list[tuple[str, mx.array]] = tree_flatten(decoder.parameters())  # type: ignore[assignment]
    drawn = SEED.weights({name: array.shape for name, array in flat})
    decoder.load_weights([(name, mx.array(array)) for name, array in drawn.items()])
    return decoder


def states(sources: int, length: int = 11) -> mx.array:
    drawn = SEED.generator(1, "states").standard_normal((sources, length, 36))
    return mx.array(drawn.astype(np.float32))


def test_cross_attention_is_the_formula() -> None:
    """softmax(q k / sqrt(d)) v of each head, from the layer's own weights."""
    layer = seeded().layers[1].cross_attn
    x, given = embeddings(2, 3, 36), states(2)
    y, found = layer(x, layer.remember(given), [4])
    q = np.array(layer.q_proj(x)).reshape(2, 3, 6, 6)
    k, v = np.array(layer.kv_proj(given)).reshape(2, 11, 2, 6, 6).transpose(2, 0, 1, 3, 4)
    scores = np.einsum("bthd,bmhd->bhtm", q, k) / np.sqrt(6)
    share = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    mixed = np.einsum("bhtm,bmhd->bthd", share, v).reshape(2, 3, 36)
    close(y, layer.o_proj(mx.array(mixed)))
    close(found[0], mx.array(scores[:, 4]))


def stepped(decoder: Decoder, x: mx.array, memory: list[tuple[mx.array, mx.array]]) -> mx.array:
    cache = KVCache(3)
    parts = [decoder(x[:, :9], cache, memory)]
    parts += [decoder(x[:, i : i + 1], cache, memory) for i in range(9, x.shape[1])]
    return mx.concatenate(parts, axis=1)


@in_cpp
@pytest.mark.parametrize(("batch", "sources"), [(1, 1), (3, 1), (5, 1), (2, 2), (6, 2), (8, 4)])
def test_steps_are_what_the_layers_compute(
    batch: int, sources: int, taken: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder, x = seeded(), embeddings(batch, 14, 36)
    memory = decoder.remember(states(sources))
    found = stepped(decoder, x, memory)
    assert taken == [False, *[True] * 5]
    without_step(monkeypatch)
    close(found, stepped(decoder, x, memory), 3e-6)
    close(found, decoder(x, None, memory), 3e-6)


@pytest.mark.parametrize("group", [1, 3])
def test_each_sequence_attends_to_its_source(group: int) -> None:
    decoder, x, given = seeded(), embeddings(2 * group, 4, 36), states(2)
    together = decoder(x, None, decoder.remember(given))
    for source in range(2):
        rows = slice(source * group, (source + 1) * group)
        close(together[rows], decoder(x[rows], None, decoder.remember(given[source : source + 1])), 3e-6)
    other = decoder(x, None, decoder.remember(given[::-1]))
    assert float(mx.abs(other - together).max()) > 0.1


@in_cpp
def test_every_parameter_of_a_step_counts(taken: list[bool]) -> None:
    """But a bias of keys, which adds the same to all scores."""
    decoder, x, given = seeded(), embeddings(1, 10, 36), states(1)
    memory, past = decoder.remember(given), KVCache(3)
    mx.eval(decoder(x[:, :9], past, memory))
    parameters = decoder.parameters()

    def output() -> np.ndarray:
        y = np.array(decoder(x[:, 9:], past, memory))
        past.trim(1)
        return y

    before = output()
    ignored = ("wpe.weight", "kv_proj.weight", "kv_proj.bias")
    names = [name for name, _ in tree_flatten(parameters) if not name.endswith(ignored)]
    for name in names:
        decoder.update(tree_map_with_path(partial(changed, name), parameters))
        assert np.abs(output() - before).max() > 1e-5, name
    assert taken == [False, *[True] * (len(names) + 1)]


def test_attention_to_the_memory_and_a_copied_past() -> None:
    decoder, x = seeded(), embeddings(2, 5, 36)
    memory, cache = decoder.remember(states(2)), KVCache(3)
    hidden, scores = decoder.attending(x[:, :4], cache, [(0, 2), (2, 5)], memory)
    assert scores.shape == (2, 2, 4, 11)
    close(hidden, decoder(x[:, :4], None, memory))
    twin = copy.copy(cache)
    close(decoder(x[:, 4:], cache, memory), decoder(x[:, 4:], twin, memory), 1e-7)


def test_what_cannot_be() -> None:
    decoder, x = seeded(), embeddings(3, 2, 36)
    with pytest.raises(UsageError, match="3 sequences cannot attend to a memory of 2 sources"):
        decoder(x, None, decoder.remember(states(2)))
    with pytest.raises(UsageError, match="memory of 0 sources"):
        decoder(x)
    with pytest.raises(ConfigError, match="cross_attention goes with neither"):
        DecoderConfig(1, 8, 8, 1, 1, 8, layer_scale=True, cross_attention=True)
