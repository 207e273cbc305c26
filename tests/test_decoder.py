"""components/decoder: equal to mlx-lm's models with the same weights, cached and not, and to its own attention."""

from __future__ import annotations

import dataclasses
import importlib
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from held import Held, loaded
from small_ports import SEED

from pytorch_to_mlx.components.decoder import GPT2, LLAMA, Decoder, DecoderConfig, Llama3Scaling
from pytorch_to_mlx.components.decoder.rotary import inverse_frequencies
from pytorch_to_mlx.decoding import KVCache
from pytorch_to_mlx.errors import ConfigError, UsageError, WeightMapError
from pytorch_to_mlx.layers import linear
from pytorch_to_mlx.layers.linear import MANY_ROWS, Linear
from pytorch_to_mlx.port import parameter_shapes
from pytorch_to_mlx.quantization import Choice, QuantizationPolicy
from pytorch_to_mlx.weights import WeightMap

VOCABULARY = 40
SCALING = Llama3Scaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)

LLAMA_LIKE = DecoderConfig(3, 64, 96, 4, 2, 32, rope_theta=10000.0, rope_scaling=SCALING)
QWEN2_LIKE = dataclasses.replace(LLAMA_LIKE, rope_theta=1e6, rope_scaling=None, qkv_bias=True, norm_eps=1e-6)
QWEN3_LIKE = dataclasses.replace(QWEN2_LIKE, qkv_bias=False, qk_norm=True)
BIASED = dataclasses.replace(LLAMA_LIKE, qkv_bias=True, output_bias=True, mlp_bias=True, num_kv_heads=4)
GPT2_LIKE = DecoderConfig(
    3,
    64,
    256,
    4,
    4,
    16,
    norm="layer",
    mlp="gelu_tanh",
    qkv_bias=True,
    output_bias=True,
    mlp_bias=True,
    max_positions=64,
)
T3_LLAMA = DecoderConfig(
    30, 1024, 4096, 16, 16, 64, rope_theta=500000.0, rope_scaling=Llama3Scaling(8.0, 1.0, 4.0, 8192)
)
T3_GPT2 = dataclasses.replace(
    GPT2_LIKE, num_layers=24, hidden_size=1024, intermediate_size=4096, num_heads=16, num_kv_heads=16, head_dim=64,
    max_positions=8196,
)  # fmt: skip


def llama_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """What transformers' LlamaModel, Qwen2Model and Qwen3Model name their tensors, the table of tokens left out."""
    size, wide, head = config.hidden_size, config.intermediate_size, config.head_dim
    q, kv = config.num_heads * head, config.num_kv_heads * head
    linear = {
        "self_attn.q_proj": (q, size, config.qkv_bias),
        "self_attn.k_proj": (kv, size, config.qkv_bias),
        "self_attn.v_proj": (kv, size, config.qkv_bias),
        "self_attn.o_proj": (size, q, config.output_bias),
        "mlp.gate_proj": (wide, size, config.mlp_bias),
        "mlp.up_proj": (wide, size, config.mlp_bias),
        "mlp.down_proj": (size, wide, config.mlp_bias),
    }
    layer: dict[str, tuple[int, ...]] = {
        "input_layernorm.weight": (size,),
        "post_attention_layernorm.weight": (size,),
    }
    if config.qk_norm:
        layer |= {"self_attn.q_norm.weight": (head,), "self_attn.k_norm.weight": (head,)}
    for name, (rows, columns, bias) in linear.items():
        layer |= {f"{name}.weight": (rows, columns)} | ({f"{name}.bias": (rows,)} if bias else {})
    return {f"layers.{n}.{k}": v for n in range(config.num_layers) for k, v in layer.items()} | {"norm.weight": (size,)}


def gpt2_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """What transformers' GPT2Model names its tensors; linear weights are (in, out)."""
    size, wide = config.hidden_size, config.intermediate_size
    layer: dict[str, tuple[int, ...]] = {}
    for name in ("ln_1", "ln_2"):
        layer |= {f"{name}.weight": (size,), f"{name}.bias": (size,)}
    linear = {"attn.c_attn": (size, 3 * size), "attn.c_proj": (size, size)}
    for name, shape in (linear | {"mlp.c_fc": (size, wide), "mlp.c_proj": (wide, size)}).items():
        layer |= {f"{name}.weight": shape, f"{name}.bias": shape[1:]}
    ends = {"wpe.weight": (config.max_positions or 0, size), "ln_f.weight": (size,), "ln_f.bias": (size,)}
    return {f"h.{n}.{k}": v for n in range(config.num_layers) for k, v in layer.items()} | ends


def seeded(config: DecoderConfig) -> Decoder:
    if config.norm == "layer":
        return loaded(Decoder(config), GPT2, SEED.weights(gpt2_shapes(config)))
    return loaded(Decoder(config), LLAMA, SEED.weights(llama_shapes(config)))


def embeddings(batch: int, count: int, size: int = 64) -> mx.array:
    return mx.array(SEED.generator(0, "embeddings").standard_normal((batch, count, size)).astype(np.float32))


def close(a: mx.array, b: mx.array, limit: float = 1e-5) -> None:
    assert a.shape == b.shape
    a, b = a.astype(mx.float32), b.astype(mx.float32)
    error = float(mx.abs(a - b).max() / mx.abs(b).max())
    assert error <= limit, f"{error:.1e} of the largest"


# Against mlx-lm


@dataclass(frozen=True)
class Judge:
    """One of mlx-lm's models, and the setting of ours that should equal it. `table`: the embeddings of tokens."""

    config: DecoderConfig
    weight_map: WeightMap
    shapes: Callable[[DecoderConfig], dict[str, tuple[int, ...]]]
    module: str
    table: str
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def load(self, state: Mapping[str, np.ndarray]) -> nn.Module:
        module = importlib.import_module(f"mlx_lm.models.{self.module}")
        config = self.config
        if self.module == "gpt2":
            arguments = module.ModelArgs(
                "gpt2", 64, config.hidden_size, config.num_heads, config.num_layers, 64, config.norm_eps, VOCABULARY
            )
            model = module.GPT2Model(arguments)
        else:
            arguments = module.ModelArgs(
                model_type=self.module, hidden_size=config.hidden_size, num_hidden_layers=config.num_layers,
                intermediate_size=config.intermediate_size, num_attention_heads=config.num_heads,
                num_key_value_heads=config.num_kv_heads, rms_norm_eps=config.norm_eps, vocab_size=VOCABULARY,
                rope_theta=config.rope_theta, tie_word_embeddings=True, max_position_embeddings=512, **self.extra,
            )  # fmt: skip
            model = {"llama": "LlamaModel", "qwen2": "Qwen2Model", "qwen3": "Qwen3Model"}[self.module]
            model = getattr(module, model)(arguments)
        transposed = {k for k, v in state.items() if self.module == "gpt2" and k.startswith("h.") and v.ndim == 2}
        model.load_weights([(k, mx.array(v.T if k in transposed else v)) for k, v in state.items()])
        return model


HEAD = {"head_dim": 32}
ROPE = {"rope_scaling": {"rope_type": "llama3", **dataclasses.asdict(SCALING)}}
JUDGES = {
    "llama": Judge(LLAMA_LIKE, LLAMA, llama_shapes, "llama", "embed_tokens.weight", HEAD | ROPE),
    "llama-biased": Judge(
        BIASED, LLAMA, llama_shapes, "llama", "embed_tokens.weight",
        HEAD | ROPE | {"attention_bias": True, "mlp_bias": True},
    ),
    "qwen2": Judge(
        dataclasses.replace(QWEN2_LIKE, head_dim=16), LLAMA, llama_shapes, "qwen2", "embed_tokens.weight"
    ),
    "qwen3": Judge(QWEN3_LIKE, LLAMA, llama_shapes, "qwen3", "embed_tokens.weight", HEAD),
    "gpt2": Judge(GPT2_LIKE, GPT2, gpt2_shapes, "gpt2", "wte.weight"),
}  # fmt: skip


@pytest.mark.parametrize("name", JUDGES)
def test_equal_to_mlx_lm(name: str) -> None:
    """Without a cache, as prefill, and step by step; batch 2."""
    judge = JUDGES[name]
    state = SEED.weights(judge.shapes(judge.config))
    table = SEED.weight(judge.table, (VOCABULARY, judge.config.hidden_size))
    theirs = judge.load(state | {judge.table: table})
    their_cache = importlib.import_module("mlx_lm.models.cache").KVCache
    ours = loaded(Decoder(judge.config), judge.weight_map, state)

    tokens = np.random.default_rng(0).integers(0, VOCABULARY, (2, 44))
    embedded = mx.array(table[tokens])
    whole = theirs(mx.array(tokens))
    close(ours(embedded), whole)

    cache, their_caches = KVCache(judge.config.num_layers), [their_cache() for _ in range(judge.config.num_layers)]
    for start, end in [(0, 17), *((n, n + 1) for n in range(17, 44))]:
        hidden = ours(embedded[:, start:end], cache)
        close(hidden, theirs(mx.array(tokens[:, start:end]), their_caches))
        close(hidden, whole[:, start:end])
    assert float(mx.abs(whole[0] - whole[1]).max()) > 0.1  # different tokens give different states


def test_attention_of_named_heads_is_that_of_mlx_lm() -> None:
    """mlx-lm gives none: its own layers' queries and keys, with the softmax in float64."""
    judge = JUDGES["llama"]
    state = SEED.weights(judge.shapes(judge.config))
    theirs: Any = judge.load(state | {judge.table: np.zeros((VOCABULARY, 64), np.float32)})
    ours = loaded(Decoder(judge.config), judge.weight_map, state)
    x = embeddings(2, 20)
    pairs = [(2, 3), (0, 1), (2, 0)]
    cache = KVCache(3)
    _, prefill = ours.attending(x[:, :19], cache, pairs)
    _, step = ours.attending(x[:, 19:], cache, pairs)
    assert prefill.shape == (2, 3, 19, 19) and step.shape == (2, 3, 1, 20) and step.dtype == mx.float32

    hidden = x
    expected: dict[int, np.ndarray] = {}
    for index, layer in enumerate(theirs.layers):
        attn, normed = layer.self_attn, layer.input_layernorm(hidden)
        q, k = (p(normed).reshape(2, 20, -1, 32).transpose(0, 2, 1, 3) for p in (attn.q_proj, attn.k_proj))
        q, k = (np.array(attn.rope(part)).astype(np.float64) for part in (q, k))
        scores = q @ np.repeat(k, 2, axis=1).swapaxes(-1, -2) / math.sqrt(32)
        scores[..., np.triu(np.ones((20, 20), bool), 1)] = -np.inf
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        expected[index] = weights / weights.sum(axis=-1, keepdims=True)
        hidden = layer(hidden, "causal")
    for place, (layer, head) in enumerate(pairs):
        np.testing.assert_allclose(np.array(prefill[:, place]), expected[layer][:, head, :19, :19], atol=1e-5)
        np.testing.assert_allclose(np.array(step[:, place]), expected[layer][:, head, 19:], atol=1e-5)


def test_looking_at_attention_changes_nothing() -> None:
    decoder, x = seeded(LLAMA_LIKE), embeddings(2, 9)
    hidden, weights = decoder.attending(x, None, [(1, 2)])
    assert mx.array_equal(hidden, decoder(x))
    assert weights.sum(axis=-1).min().item() == pytest.approx(1, abs=1e-6)


# The cache


@pytest.mark.parametrize("config", [LLAMA_LIKE, QWEN3_LIKE, GPT2_LIKE], ids=["llama", "qwen3", "gpt2"])
def test_any_division_into_calls_gives_the_same(config: DecoderConfig) -> None:
    decoder, x = seeded(config), embeddings(2, 60)
    whole = decoder(x)
    for sizes in ([60], [1] * 60, [7, 1, 1, 30, 21]):
        cache, parts = KVCache(config.num_layers), []
        for size in sizes:
            parts.append(decoder(x[:, cache.offset : cache.offset + size], cache))
        close(mx.concatenate(parts, axis=1), whole)


@pytest.mark.parametrize("config", [LLAMA_LIKE, QWEN3_LIKE], ids=["llama", "qwen3"])
def test_padded_sequences_are_what_they_are_alone(config: DecoderConfig) -> None:
    """What stands in the padding does not matter, and there is nothing undefined where it attends to nothing else."""
    decoder, lengths = seeded(config), (3, 9, 5)
    x = embeddings(3, 9 + 4)
    padding = [9 - length for length in lengths]
    together = KVCache(config.num_layers, padding)
    found = mx.concatenate([decoder(x[:, start:end], together) for start, end in ((0, 9), (9, 10), (10, 13))], axis=1)
    assert not mx.isnan(found).any()
    for row, before in enumerate(padding):
        alone = decoder(x[row : row + 1, before:], KVCache(config.num_layers))
        close(found[row : row + 1, before:], alone)
    unpadded = decoder(x, KVCache(config.num_layers, [0, 0, 0]))
    assert mx.array_equal(unpadded, decoder(x, KVCache(config.num_layers)))


def test_padding_is_of_the_sequences_at_hand() -> None:
    with pytest.raises(UsageError, match="padded for 1 sequences, not 2"):
        seeded(LLAMA_LIKE)(embeddings(2, 3), KVCache(3, [1]))
    with pytest.raises(UsageError, match="-2 positions"):
        KVCache(3, [0, -2])


def test_learned_positions_begin_behind_the_padding() -> None:
    decoder, x = seeded(GPT2_LIKE), embeddings(2, 9)
    cache = KVCache(3, [4, 0])
    found = mx.concatenate([decoder(x[:, :7], cache), decoder(x[:, 7:8], cache), decoder(x[:, 8:], cache)], axis=1)
    for row, before in ((0, 4), (1, 0)):
        close(found[row : row + 1, before:], decoder(x[row : row + 1, before:]), 3e-6)


def test_selected_sequences_go_on_as_they_would_alone() -> None:
    decoder, x = seeded(LLAMA_LIKE), embeddings(3, 6)
    cache = KVCache(3, [2, 0, 1])
    decoder(x[:, :4], cache)
    cache.select([2, 0, 2])
    found = decoder(x[mx.array([2, 0, 2]), 4:], cache)
    for place, (row, before) in enumerate(((2, 1), (0, 2), (2, 1))):
        close(found[place : place + 1], decoder(x[row : row + 1, before:])[:, -2:], 3e-6)


def test_a_trimmed_cache_continues_as_if_nothing_had_followed() -> None:
    decoder, x = seeded(LLAMA_LIKE), embeddings(1, 12)
    cache = KVCache(3)
    decoder(x[:, :8], cache)
    decoder(mx.zeros((1, 3, 64)), cache)
    cache.trim(3)
    close(decoder(x[:, 8:], cache), decoder(x)[:, 8:])


# Weights


@pytest.mark.parametrize(
    ("config", "weight_map", "shapes", "count"),
    [(T3_LLAMA, LLAMA, llama_shapes, 271), (T3_GPT2, GPT2, gpt2_shapes, 291)],
    ids=["llama", "gpt2"],
)
def test_t3s_full_sizes_are_accounted_for(
    config: DecoderConfig, weight_map: WeightMap, shapes: Callable[..., dict[str, tuple[int, ...]]], count: int
) -> None:
    state = Held.empty(shapes(config))
    expected = parameter_shapes(Decoder(config))
    assert len(state) == count
    plan = weight_map.plan(state, expected)
    assert {spec.name for spec in plan.outputs} == expected.keys()
    state |= {"embed_tokens.weight": np.zeros((8, 1024), np.float32)}
    with pytest.raises(WeightMapError, match=r"left over embed_tokens\.weight"):
        weight_map.plan(state, expected)


def test_buffers_of_older_checkpoints_are_dropped() -> None:
    masks = {"h.0.attn.bias": np.ones((1, 1, 4, 4), np.float32), "h.2.attn.masked_bias": np.float32(-1e4)}
    loaded(Decoder(GPT2_LIKE), GPT2, SEED.weights(gpt2_shapes(GPT2_LIKE)) | masks)
    rates = {"layers.1.self_attn.rotary_emb.inv_freq": np.ones(16, np.float32)}
    loaded(Decoder(LLAMA_LIKE), LLAMA, SEED.weights(llama_shapes(LLAMA_LIKE)) | rates)


def test_rotary_rates_are_torchs_bit_by_bit() -> None:
    """T3's, as transformers 4.57.3 and torch 2.13 compute them on x86-64."""
    rates = inverse_frequencies(64, 500000.0, Llama3Scaling(8.0, 1.0, 4.0, 8192))
    few = [1.0, 0.663601279258728, 0.00483942124992609, 0.0005248460220173001, 3.428102354519069e-05]
    assert rates.dtype == np.float32 and rates[[0, 1, 13, 16, 20]].tolist() == few
    assert zlib.crc32(rates.tobytes()) == 2986057622


# Types and quantization


@pytest.mark.parametrize(("dtype", "limit"), [(mx.float16, 0.01), (mx.bfloat16, 0.06)], ids=["float16", "bfloat16"])
@pytest.mark.parametrize("config", [LLAMA_LIKE, QWEN3_LIKE, GPT2_LIKE], ids=["llama", "qwen3", "gpt2"])
def test_half_precision_stays_half_and_near(config: DecoderConfig, dtype: mx.Dtype, limit: float) -> None:
    decoder, x = seeded(config), embeddings(2, 20)
    exact, _ = decoder.attending(x, None, [(0, 0)])
    decoder.set_dtype(dtype)
    cache, parts = KVCache(config.num_layers), []
    for start, end in ((0, 18), (18, 19), (19, 20)):
        hidden, weights = decoder.attending(x[:, start:end].astype(dtype), cache, [(0, 0)])
        assert hidden.dtype == dtype and weights.dtype == mx.float32
        parts.append(hidden)
    close(mx.concatenate(parts, axis=1), exact, limit)


def test_linear_layers_can_be_quantized_and_nothing_else_is() -> None:
    decoder, x = seeded(dataclasses.replace(GPT2_LIKE, rope_theta=10000.0)), embeddings(2, 20)
    exact = decoder(x)
    policy = QuantizationPolicy((Choice(r"layers\.\d+\.(self_attn|mlp)\.\w+_proj", ""),), (Choice("wpe", ""),))
    layers = policy.decide(decoder, bits=8, group_size=64).layers
    assert len(layers) == 3 * 4
    nn.quantize(decoder, group_size=64, bits=8, class_predicate=lambda path, _: path in layers)
    assert isinstance(decoder.layers[0].self_attn.qkv_proj, nn.QuantizedLinear)
    close(decoder(x), exact, 0.02)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (3, 7), (1, MANY_ROWS - 1), (2, MANY_ROWS)], ids=str)
@pytest.mark.parametrize("tile", [linear.TILE, 700])
def test_linear_is_the_same_for_any_number_of_rows(
    shape: tuple[int, int], bias: bool, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one tile, and in tiles of 14 or 7 rows of the weight with some left over."""
    monkeypatch.setattr(linear, "TILE", tile)
    layer = Linear(48, 80, bias=bias)
    x = embeddings(*shape, 48)
    close(layer(x), nn.Linear.__call__(layer, x), 1e-6)


# Refusals


def test_more_positions_than_the_table_has_are_refused() -> None:
    decoder = seeded(GPT2_LIKE)
    cache = KVCache(3)
    decoder(embeddings(1, 64), cache)
    with pytest.raises(UsageError, match="65 positions are more than the model's 64"):
        decoder(embeddings(1, 1), cache)


@pytest.mark.parametrize(
    "change",
    [{"num_kv_heads": 3}, {"head_dim": 31}, {"num_layers": 0}, {"num_heads": 0}, {"rope_theta": None}],
    ids=str,
)
def test_a_configuration_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="decoder: "):
        dataclasses.replace(LLAMA_LIKE, **change)
