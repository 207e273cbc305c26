"""components/flow: speech tokens to mel spectrograms."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
import upstream_shapes
from held import Held
from mlx.utils import tree_map

from pytorch_to_mlx.components.flow import Flow, FlowConfig, weights
from pytorch_to_mlx.components.flow.conformer import by_distance, encode_distances
from pytorch_to_mlx.components.flow.matching import GUIDANCE, FlowMatching
from pytorch_to_mlx.components.flow.mel import mel_spectrogram
from pytorch_to_mlx.errors import AudioError, UsageError, WeightMapError
from pytorch_to_mlx.layers import attention, convolution, cores, elementwise, linear
from pytorch_to_mlx.layers.device import linux_cpu
from pytorch_to_mlx.parity import recording
from pytorch_to_mlx.port import parameter_shapes
from pytorch_to_mlx.weights import Drop

PROMPT, SAID = 5, 7
FRAMES = 2 * (PROMPT + SAID)


@pytest.fixture(scope="module")
def flow() -> Flow:
    mx.random.seed(0)
    network = Flow(FlowConfig())
    mx.eval(network.parameters())
    return network


@pytest.fixture(scope="module")
def meanflow() -> FlowMatching:
    mx.random.seed(1)
    network = FlowMatching(meanflow=True)
    mx.eval(network.parameters())
    return network


@pytest.fixture
def arguments() -> list[mx.array]:
    """Tokens, prompt tokens, prompt mel spectrogram, speaker embedding and noise."""
    mx.random.seed(2)
    tokens, prompt_tokens = (mx.random.randint(0, 6561, (1, n)) for n in (SAID, PROMPT))
    rest = (mx.random.normal(shape) for shape in ((1, 2 * PROMPT, 80), (1, 192), (1, FRAMES, 80)))
    return [tokens, prompt_tokens, *rest]


# What comes out


def test_two_frames_come_out_for_each_token(flow: Flow, arguments: list[mx.array]) -> None:
    assert flow.encode(arguments[0]).shape == (1, 2 * SAID, 80)
    mel = flow(*arguments, steps=2)
    assert mel.shape == (1, 2 * SAID, 80)
    assert mel.dtype == mx.float32
    assert np.isfinite(np.array(mel)).all()


@pytest.mark.parametrize("heard", [0, 2 * PROMPT - 3, 2 * PROMPT + 1])
def test_frames_of_the_prompt_are_left_out_as_upstream_counts_them(
    flow: Flow, arguments: list[mx.array], heard: int
) -> None:
    arguments[2] = mx.zeros((1, heard, 80))
    assert flow(*arguments, steps=1).shape == (1, FRAMES - heard, 80)


def test_without_the_last_tokens_their_frames_are_left_out(flow: Flow, arguments: list[mx.array]) -> None:
    arguments[4] = arguments[4][:, :-6]
    assert flow(*arguments, steps=1, finalize=False).shape == (1, 2 * SAID - 6, 80)


@pytest.mark.parametrize("which", range(5))
def test_every_input_is_heard(flow: Flow, arguments: list[mx.array], which: int) -> None:
    before = flow(*arguments, steps=1)
    changed = arguments[which]
    arguments[which] = (changed + 1) % 6561 if which < 2 else changed[..., ::-1]
    difference = mx.abs(flow(*arguments, steps=1) - before).max()
    assert difference > 1e-4 * mx.abs(before).max()


def test_only_the_direction_of_the_speaker_counts(flow: Flow) -> None:
    embedding = mx.random.normal((1, 192), key=mx.random.key(0))
    assert mx.allclose(flow.speaker(embedding), flow.speaker(7 * embedding), atol=1e-6)


def test_lowered_and_native_operations_agree(
    flow: Flow, arguments: list[mx.array], monkeypatch: pytest.MonkeyPatch
) -> None:
    mel = flow(*arguments, steps=2)
    for module in (attention, convolution, cores, elementwise, linear):
        monkeypatch.setattr(module, "linux_cpu", lambda: False)
    native = flow(*arguments, steps=2)
    assert mx.abs(mel - native).max() < 1e-5 * mx.abs(native).max()


@pytest.mark.skipif(not (linux_cpu() and cores._streams()), reason="needs 2 to 4 cores and OpenBLAS on Linux")
def test_halves_on_cores_of_their_own_are_what_is_recorded(
    flow: Flow, arguments: list[mx.array], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    compute = cores._compute
    monkeypatch.setattr(cores, "_compute", lambda *job: sizes.append(1) or compute(*job))
    mel = flow(*arguments, steps=2)
    assert len(sizes) == 4  # of two steps
    with recording(flow):
        recorded = flow(*arguments, steps=2)
    assert len(sizes) == 4
    assert mx.abs(mel - recorded).max() < 1e-5 * mx.abs(recorded).max()


@pytest.mark.parametrize(("dtype", "least"), [(mx.float16, 0.999), (mx.bfloat16, 0.99)])
def test_half_precision_stays_close(arguments: list[mx.array], dtype: mx.Dtype, least: float) -> None:
    arguments = [each[:, : 2 if each.ndim == 3 else 1] for each in arguments[:4]] + [arguments[4][:, :4]]
    arguments[3] = mx.random.normal((1, 192))
    mx.random.seed(0)
    network = Flow(FlowConfig())
    exact = np.array(network(*arguments, steps=1))
    network.update(tree_map(lambda array: array.astype(dtype), network.parameters()))
    mel = network(*arguments, steps=1)
    assert mel.dtype == mx.float32
    assert np.corrcoef(np.array(mel).ravel(), exact.ravel())[0, 1] > least


# The solver


def test_times_are_slow_at_first_and_even_for_meanflow(flow: Flow, meanflow: FlowMatching) -> None:
    expected = [0, 0.0123, 0.0489, 0.1090, 0.1910, 0.2929, 0.4122, 0.5460, 0.6910, 0.8436, 1]
    np.testing.assert_allclose(np.array(flow.decoder.times()), expected, atol=1e-4)
    assert meanflow.times().tolist() == [0, 0.5, 1]
    assert flow.decoder.times(4).shape == (5,)


def test_guidance_pushes_away_from_what_is_said_without_conditions(flow: Flow) -> None:
    mx.random.seed(3)
    z, mu, prompt = mx.random.normal((3, 1, 6, 80))
    speaker = mx.random.normal((1, 80))
    times = mx.array([0.2, 0.5])
    with recording(flow, {"decoder.estimator"}.__contains__) as tape:
        state = flow.decoder(z, mu, speaker, prompt, times)
    given, nothing = tape.taps["decoder.estimator"]
    expected = np.array(z[0]) + 0.3 * ((1 + GUIDANCE) * given - GUIDANCE * nothing)
    np.testing.assert_allclose(np.array(state[0]), expected, atol=1e-5)

    time = flow.decoder.estimator.embed_times(times)
    empty = flow.decoder.estimator(z, mx.zeros((1, 6, 240)), time)
    np.testing.assert_allclose(nothing, np.array(empty[0]), atol=1e-5)


def test_meanflow_knows_when_a_step_ends(meanflow: FlowMatching, flow: Flow) -> None:
    early, late = mx.array([0.2, 0.4]), mx.array([0.2, 0.9])
    assert mx.abs(meanflow.estimator.embed_times(early) - meanflow.estimator.embed_times(late)).max() > 1e-3
    assert mx.array_equal(flow.decoder.estimator.embed_times(early), flow.decoder.estimator.embed_times(late))


def test_meanflow_needs_no_guidance(meanflow: FlowMatching) -> None:
    mx.random.seed(4)
    z, mu, prompt = mx.random.normal((3, 1, 6, 80))
    with recording(meanflow, {"estimator"}.__contains__) as tape:
        state = meanflow(z, mu, mx.zeros((1, 80)), prompt, mx.array([0.5, 1.0]))
    np.testing.assert_allclose(np.array(state), np.array(z) + 0.5 * tape.taps["estimator"], atol=1e-5)


# Positions


def test_scores_of_distances_are_shifted_to_queries_and_keys() -> None:
    n = 5
    scores = mx.arange(2 * n * (2 * n - 1)).reshape(1, 2, n, 2 * n - 1)
    shifted = np.array(by_distance(scores))
    rows = np.array(scores)
    for query in range(n):
        for key in range(n):
            np.testing.assert_array_equal(shifted[0, :, query, key], rows[0, :, query, n - 1 - query + key])


def test_distances_are_encoded_from_the_farthest_behind() -> None:
    encoded = np.array(encode_distances(4))
    assert encoded.shape == (1, 7, 512)
    np.testing.assert_allclose(encoded[0, :, 0], np.sin([3, 2, 1, 0, -1, -2, -3]), atol=1e-6)
    np.testing.assert_allclose(encoded[0, :, 1], np.cos([3, 2, 1, 0, -1, -2, -3]), atol=1e-6)


# What is refused


def test_tokens_that_are_none_are_refused(flow: Flow) -> None:
    for tokens in (mx.array([[6561]]), mx.array([[-1]])):
        with pytest.raises(UsageError, match="below 6561"):
            flow.encode(tokens)
    for tokens in (mx.zeros((1, 0), mx.int32), mx.zeros((2, 3), mx.int32), mx.zeros((3,), mx.int32)):
        with pytest.raises(UsageError, match=r"shape \(1, n\)"):
            flow.encode(tokens)


def test_noise_of_another_length_is_refused(flow: Flow, arguments: list[mx.array]) -> None:
    arguments[4] = arguments[4][:, 1:]
    with pytest.raises(UsageError, match="noise has the shape"):
        flow(*arguments)


def test_a_prompt_without_its_tokens_is_refused(flow: Flow, arguments: list[mx.array]) -> None:
    arguments[2] = mx.zeros((1, FRAMES + 1, 80))
    with pytest.raises(UsageError, match="25 mel frames"):
        flow(*arguments)


# Mel spectrograms


@pytest.mark.parametrize(("samples", "frames"), [(721, 1), (24000, 50), (24479, 50), (24480, 51)])
def test_fifty_frames_a_second(samples: int, frames: int) -> None:
    assert mel_spectrogram(mx.zeros((1, samples))).shape == (1, frames, 80)


def test_silence_is_the_least_that_is_told_apart() -> None:
    silence = np.array(mel_spectrogram(mx.zeros((1, 4800))))
    loud = np.array(mel_spectrogram(mx.array(np.sin(np.arange(4800) * 2 * np.pi * 1000 / 24000), mx.float32)[None]))
    np.testing.assert_allclose(silence, np.log(1e-5), atol=1e-4)
    # 1 kHz is 15 of the 45.25 mels up to 8 kHz.
    assert set(loud[0, 1:-1].argmax(axis=-1)) == {round(81 * 15 / 45.245) - 1}
    assert loud.max() > 0


def test_what_is_too_short_for_a_frame_is_refused() -> None:
    with pytest.raises(AudioError, match=r"lasts 0\.030 s"):
        mel_spectrogram(mx.zeros((1, 720)))


# Weights


@pytest.mark.parametrize(("variant", "tensors"), [(False, 1121), (True, 1122)])
def test_every_tensor_is_used_or_dropped_with_a_reason(variant: bool, tensors: int) -> None:
    checkpoint = Held.empty(upstream_shapes.flow(variant))
    assert len(checkpoint) == tensors
    plan = weights(variant).plan(checkpoint, parameter_shapes(Flow(FlowConfig(variant))))
    dropped = [step for step in plan.steps if isinstance(step.rule, Drop)]
    assert len(dropped) == 10
    assert sum(len(step.sources) for step in plan.steps) == tensors


def test_a_missing_or_foreign_tensor_is_named() -> None:
    parameters = parameter_shapes(Flow(FlowConfig()))
    lacking, foreign = (Held.empty(upstream_shapes.flow(meanflow)) for meanflow in (False, True))
    del lacking["decoder.estimator.mid_blocks.7.1.2.attn1.to_k.weight"]
    for checkpoint, name in ((lacking, r"mid_blocks\.7\.1\.2\.attn1\.to_k"), (foreign, "time_embed_mixer")):
        with pytest.raises(WeightMapError, match=name):
            weights(False).plan(checkpoint, parameters)


def test_a_bias_of_keys_changes_no_attention(flow: Flow) -> None:
    """The reason for which the map drops `linear_k.bias`."""
    layer = flow.encoder.encoders[0].self_attn
    x, positions = mx.random.normal((1, 6, 512), key=mx.random.key(5)), encode_distances(6)
    before = layer(x, positions)
    biased = nn.Linear(512, 512)
    biased.weight, biased.bias = layer.linear_k.weight, mx.random.normal((512,), key=mx.random.key(6))
    unbiased, layer.linear_k = layer.linear_k, biased
    try:
        np.testing.assert_allclose(np.array(layer(x, positions)), np.array(before), atol=1e-6)
    finally:
        layer.linear_k = unbiased
