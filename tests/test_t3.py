"""models/chatterbox/t3: conditioning, teacher-forced and generated tokens, weight maps. Goldens hold upstream's say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from held import Held
from small_ports import SEED
from upstream_shapes import CONFIGS, loaded_t3, seeded_t3, small_config
from upstream_shapes import t3 as t3_shapes

from pytorch_to_mlx.errors import UsageError, WeightMapError
from pytorch_to_mlx.models.chatterbox.t3.config import START_SPEECH, STOP_SPEECH
from pytorch_to_mlx.models.chatterbox.t3.generation import NOISE, SamplingSettings, Utterance, generate
from pytorch_to_mlx.models.chatterbox.t3.network import T3
from pytorch_to_mlx.models.chatterbox.t3.weights import QUANTIZATION, weights
from pytorch_to_mlx.noise import ReplayedNoise, SeededNoise
from pytorch_to_mlx.port import parameter_shapes

VARIANTS = ("english", "multilingual", "turbo")
TENSORS = {"english": 292, "multilingual": 292, "turbo": 299}
TEXT = [40, 41, 42, 43, 44]
PROMPT = 7
GREEDY: dict[str, Any] = {"temperature": 0.0, "top_p": 1.0}


@pytest.fixture(scope="module")
def networks() -> dict[str, T3]:
    return {variant: seeded_t3(variant) for variant in VARIANTS}


@pytest.fixture(params=VARIANTS)
def t3(request: pytest.FixtureRequest, networks: dict[str, T3]) -> T3:
    return networks[request.param]


@pytest.fixture
def english(networks: dict[str, T3]) -> T3:
    return networks["english"]


@pytest.fixture
def turbo(networks: dict[str, T3]) -> T3:
    return networks["turbo"]


def condition(t3: T3, emotion: float = 0.5, prompt: int = PROMPT, seed: int = 0) -> mx.array:
    speaker = SEED.generator(seed, "speaker").standard_normal((1, 256)).astype(np.float32) / 16
    return t3.condition(mx.array(speaker), mx.arange(100, 100 + prompt)[None], emotion if t3.config.emotion else None)


def settings(t3: T3, **given: float) -> SamplingSettings:
    return SamplingSettings.given(t3.config, given)


def said(t3: T3, count: int = 5, seed: int = 0, text: list[int] = TEXT, **given: float) -> list[int]:
    return list(generate(t3, condition(t3), text, settings(t3, **given), SeededNoise(seed), count))


# The network


def test_the_condition_is_speaker_prompt_and_emotion(t3: T3) -> None:
    rows = 1 + PROMPT if t3.config.turbo else 1 + 32 + 1
    assert condition(t3).shape == (1, rows, 256)
    assert condition(t3, prompt=0 if t3.config.turbo else 1).shape == (1, 1 if t3.config.turbo else rows, 256)
    assert not mx.allclose(condition(t3, seed=1)[:, 0], condition(t3)[:, 0])


def test_emotion_moves_its_row_alone(english: T3) -> None:
    calm, wild = condition(english, 0.2), condition(english, 0.9)
    assert mx.array_equal(calm[:, :-1], wild[:, :-1])
    assert not mx.allclose(calm[:, -1], wild[:, -1])


def test_emotion_is_asked_for_by_those_who_have_it(english: T3, turbo: T3) -> None:
    given = mx.zeros((1, 256)), mx.zeros((1, 1), mx.int32)
    with pytest.raises(UsageError, match="exaggeration is needed"):
        english.condition(*given)
    with pytest.raises(UsageError, match="exaggeration is not known"):
        turbo.condition(*given, 0.5)


def test_logits_come_for_text_and_for_speech(t3: T3) -> None:
    text, speech = t3(condition(t3), mx.array([[255, 40, 0]]), mx.array([[START_SPEECH, 5]]))
    assert text.shape == (1, 3, t3.config.text_vocabulary)
    assert speech.shape == (1, 2, t3.config.speech_vocabulary)


def test_nothing_heard_later_changes_logits(t3: T3) -> None:
    speech = [START_SPEECH, 5, 6]
    logits = [t3(condition(t3), mx.array([[255, 40, 0]]), mx.array([[*speech, last]]))[1] for last in (7, 8)]
    assert mx.array_equal(logits[0][:, :3], logits[1][:, :3])
    assert not mx.allclose(logits[0][:, 3], logits[1][:, 3])


def test_guidance_hears_positions_in_place_of_text(english: T3) -> None:
    prefix, other = (english.prefix(condition(english), text, guided=True) for text in (TEXT, [50, 51, 52, 53, 54]))
    assert prefix.shape == (2, 34 + len(TEXT) + 2 + 2, 256)
    assert mx.array_equal(prefix[1], other[1])
    assert not mx.array_equal(prefix[0], other[0])
    assert mx.array_equal(prefix[0, -1], prefix[0, -2]), "upstream gives the start token twice, both at position 0"


def test_turbo_takes_the_text_bare(turbo: T3) -> None:
    assert turbo.prefix(condition(turbo), TEXT, guided=False).shape == (1, 1 + PROMPT + len(TEXT) + 1, 256)


def test_a_text_longer_than_its_positions_is_refused(english: T3) -> None:
    with pytest.raises(UsageError, match="the text has 2049 tokens, the model room for 2048"):
        said(english, text=[40] * 2049)


# Generation


def test_tokens_do_not_depend_on_how_they_are_asked_for(t3: T3) -> None:
    """The cache against one pass over all: upstream's own scores are compared with the latter."""
    tokens = said(t3, 8, **GREEDY)
    assert len(set(tokens)) > 4
    guidance = settings(t3).cfg_weight
    whole = Utterance(t3, condition(t3), TEXT, guidance, tokens[:-1]).logits
    step = Utterance(t3, condition(t3), TEXT, guidance)
    rows = [step.logits, *(step.step(mx.array([token])) for token in tokens[:-1])]
    assert np.allclose(whole, mx.concatenate(rows), atol=1e-4)


@pytest.mark.parametrize("cut", [1, 3])
@pytest.mark.parametrize("given", [GREEDY, {}], ids=["greedy", "sampled"])
def test_generation_goes_on_from_what_was_said(t3: T3, cut: int, given: dict[str, Any]) -> None:
    tokens = said(t3, 4, **given)
    chosen = settings(t3, **given)
    rest = generate(t3, condition(t3), TEXT, chosen, SeededNoise(0), len(tokens) - cut, said=tokens[:cut])
    assert list(rest) == tokens[cut:]


def test_noise_decides(english: T3, turbo: T3) -> None:
    for t3 in (english, turbo):
        assert said(t3) == said(t3)
        assert said(t3) != said(t3, seed=1)
        assert said(t3, **GREEDY) == said(t3, seed=1, **GREEDY)


def test_guidance_decides(english: T3) -> None:
    weights = (0.0, 0.5, 3.0)
    assert len({tuple(said(english, 12, cfg_weight=weight, **GREEDY)) for weight in weights}) == len(weights)


def test_without_guidance_one_sequence_is_enough(english: T3) -> None:
    """Upstream computes two there, both with the text: logits + 0 (logits - logits)."""
    alone = Utterance(english, condition(english), TEXT, 0.0).logits
    prefix = english.prefix(condition(english), TEXT, guided=False)
    both = english.speech_head(english.tfmr(mx.concatenate([prefix, prefix])))[:, -1:]
    assert np.allclose(alone, both[0], atol=1e-5)
    assert np.allclose(alone, both[1], atol=1e-5)


def only(t3: T3, *tokens: int) -> ReplayedNoise:
    """Noise that draws these tokens."""
    noise = np.full((len(tokens), t3.config.speech_vocabulary), 1e30, np.float32)
    noise[np.arange(len(tokens)), list(tokens)] = 1e-30
    return ReplayedNoise({NOISE: noise})


def test_the_stop_token_ends_it(english: T3, turbo: T3) -> None:
    free = {"top_p": 1.0}
    for t3, given in ((english, {**free, "min_p": 0.0}), (turbo, {**free, "top_k": 0})):
        noise = only(t3, 7, 8, STOP_SPEECH, 9)
        assert list(generate(t3, condition(t3), TEXT, settings(t3, **given), noise, 4)) == [7, 8]


def test_turbo_does_not_stop_at_its_first_token(turbo: T3) -> None:
    chosen = settings(turbo, top_p=1.0, top_k=0)
    tokens = generate(turbo, condition(turbo), TEXT, chosen, only(turbo, STOP_SPEECH, 8, STOP_SPEECH), 3)
    assert list(tokens) == [STOP_SPEECH, 8]


def test_the_multilingual_model_is_held_back_from_stopping(networks: dict[str, T3]) -> None:
    t3 = networks["multilingual"]
    logits = Utterance(t3, condition(t3), TEXT, 0.5).logits
    assert logits[0, STOP_SPEECH].item() == -(2.0**15)


def test_the_multilingual_model_is_stopped_when_it_says_a_token_twice(networks: dict[str, T3]) -> None:
    t3 = networks["multilingual"]
    logits = Utterance(t3, condition(t3), TEXT, 0.5, [5, 6, 6]).logits
    assert [int(row.argmax()) == STOP_SPEECH for row in logits] == [False, False, False, True]


def test_settings_default_to_upstreams() -> None:
    defaults = {name: SamplingSettings.default(config) for name, config in CONFIGS.items()}
    assert defaults["english"] == SamplingSettings(0.8, 1.0, 1.2, 0.05, 0, 0.5)
    assert defaults["multilingual"] == SamplingSettings(0.8, 1.0, 2.0, 0.05, 0, 0.5)
    assert defaults["turbo"] == SamplingSettings(0.8, 0.95, 1.2, 0.0, 1000, 0.0)


@pytest.mark.parametrize(
    ("variant", "given", "said"),
    [
        ("turbo", {"cfg_weight": 0.5}, "cfg_weight is not a setting of this model"),
        ("turbo", {"min_p": 0.5}, "min_p is not a setting of this model"),
        ("english", {"top_k": 5}, "top_k is not a setting of this model"),
        ("english", {"temperature": -1}, "temperature -1 must be 0 or more"),
        ("english", {"cfg_weight": float("nan")}, "cfg_weight nan must be 0 or more"),
        ("english", {"top_p": 1.5}, "top_p 1.5 must be between 0 and 1"),
        ("english", {"repetition_penalty": 0}, "repetition_penalty 0"),
    ],
)
def test_settings_are_checked(variant: str, given: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        SamplingSettings.given(CONFIGS[variant], given)


def test_more_tokens_than_positions_are_refused(english: T3) -> None:
    with pytest.raises(UsageError, match="max_tokens 4097 is more than the 4096"):
        said(english, 4097)


# Weights


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_tensor_is_used_or_dropped_for_a_reason(variant: str) -> None:
    config = CONFIGS[variant]
    state = Held.empty(t3_shapes(config))
    assert len(state) == TENSORS[variant]
    plan = weights(config).plan(state, parameter_shapes(T3(config)))
    unused = "tfmr.wte.weight" if config.turbo else "tfmr.embed_tokens.weight"
    assert {row.source for row in plan.table()} == set(state)
    assert {row.source for row in plan.table() if not row.target} == {unused}


@pytest.mark.parametrize("name", ["cond_enc.spkr_enc.bias", "tfmr.layers.1.mlp.up_proj.weight"])
def test_a_tensor_too_few_is_noticed(name: str) -> None:
    config = small_config("english")
    state = SEED.weights({key: shape for key, shape in t3_shapes(config).items() if key != name})
    with pytest.raises(WeightMapError):
        loaded_t3(config, state)


def test_a_tensor_too_many_is_noticed() -> None:
    config = small_config("english")
    state = SEED.weights(t3_shapes(config) | {"cond_enc.clap_enc.weight": (2, 2)})
    with pytest.raises(WeightMapError, match="clap_enc"):
        loaded_t3(config, state)


def test_quantization_takes_the_backbone_alone(t3: T3) -> None:
    decided = QUANTIZATION.decide(t3, 4, 64)
    kinds = 4  # qkv, o, gate and up together, down
    assert len(decided.layers) == kinds * t3.config.backbone.num_layers
    assert all(name.startswith("tfmr.layers.") for name in decided.layers)


def test_a_quantized_network_speaks(english: T3) -> None:
    network = seeded_t3("english")
    chosen = set(QUANTIZATION.decide(network, 8, 64).layers)
    nn.quantize(network, 64, 8, class_predicate=lambda path, _: path in chosen)
    exact, close = (Utterance(each, condition(each), TEXT, 0.0).logits for each in (english, network))
    error = mx.abs(exact - close).max() / mx.abs(exact).max()
    assert 0 < float(error) < 0.02


def test_config_knows_what_variants_differ_in() -> None:
    assert replace(CONFIGS["multilingual"], text_vocabulary=704, multilingual=False) == CONFIGS["english"]
