"""S3 speech tokenizers without torch: accounting of weights, batches and windows, codes against plain numpy."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from held import Held
from small_ports import SEED, s3_tokenizer_tensors, small_s3_tokenizer

from pytorch_to_mlx import Audio
from pytorch_to_mlx.components.s3_tokenizer import S3Tokenizer, S3TokenizerModel, tokenize
from pytorch_to_mlx.components.s3_tokenizer.quantizer import EuclideanCodebook, FiniteScalarCodebook
from pytorch_to_mlx.components.whisper.mel import log_mel, pad_to_tokens
from pytorch_to_mlx.errors import AudioError, WeightMapError
from pytorch_to_mlx.models.s3_tokenizer.port import PORT
from pytorch_to_mlx.port import parameter_shapes

RATE = 16000


@pytest.fixture(scope="module", params=list(PORT.variants))
def model(request: pytest.FixtureRequest) -> S3TokenizerModel:
    return small_s3_tokenizer(request.param)


@pytest.fixture(scope="module")
def v2() -> S3TokenizerModel:
    return small_s3_tokenizer("v2-25hz")


def speech(seed: int, seconds: float) -> np.ndarray:
    return SEED.speechlike(seed, seconds, RATE)


def tokens(model: S3TokenizerModel, samples: np.ndarray) -> list[int]:
    return model.tokenize(Audio(samples, RATE)).tolist()


@pytest.mark.parametrize(("variant", "count"), [("v1-50hz", 96), ("v1-25hz", 96), ("v2-25hz", 102)])
def test_every_tensor_is_used_and_every_parameter_filled(variant: str, count: int) -> None:
    declared = PORT.variants[variant]
    config = replace(declared.config, state=128, heads=2)
    tensors = Held(s3_tokenizer_tensors(config))
    shapes, weights = parameter_shapes(S3Tokenizer(config)), declared.parts[0].weights
    assert len(tensors) == count
    plan = weights.plan(tensors, shapes)
    assert {row.source for row in plan.table()} == set(tensors)
    assert {spec.name: spec.shape for spec in plan.outputs} == shapes
    del tensors["encoder.blocks.5.mlp.2.bias"]
    with pytest.raises(WeightMapError) as error:
        weights.plan(tensors, shapes)
    assert any("encoder.blocks.5.mlp" in problem for problem in error.value.problems)


def test_a_batch_is_its_recordings_alone(model: S3TokenizerModel) -> None:
    recordings = [speech(1, 1.4), speech(2, 0.4), speech(3, 2.0)]
    together, lengths = tokenize(model.network, recordings)
    assert lengths == [round(seconds * model.tokens_per_second) for seconds in (1.4, 0.4, 2.0)]
    for row, length, samples in zip(np.array(together), lengths, recordings, strict=True):
        assert row[:length].tolist() == tokens(model, samples)
        assert not row[length:].any()


def test_windows_keep_the_middle(v2: S3TokenizerModel) -> None:
    """Each second belongs to the window that has at least 2 s around it."""
    samples = np.concatenate([speech(5, 25.0), speech(6, 8.0)])
    mel, rate = log_mel(samples), v2.tokens_per_second

    def alone(start: int, end: int) -> list[int]:
        part = mel[100 * start : 100 * end]
        return np.array(v2.network.quantize(part[None], [len(part)]).tokens)[0].tolist()

    expected = alone(0, 30)[: 28 * rate] + alone(26, 33)[2 * rate :]
    found = tokens(v2, samples)
    assert len(found) == 33 * rate
    assert np.mean(np.array(found) == np.array(expected)) > 0.99  # other batch shapes round differently
    short = tokenize(v2.network, [speech(1, 1.0), samples])
    assert np.array(short.tokens)[0, :rate].tolist() == tokens(v2, speech(1, 1.0))


def test_the_end_that_upstream_loses(v2: S3TokenizerModel) -> None:
    mel = log_mel(speech(5, 54.0))
    assert v2.network.quantize(mel[None], [5400]).lengths == [52 * v2.tokens_per_second]


def test_tokens_are_cut(model: S3TokenizerModel) -> None:
    assert tokenize(model.network, [speech(1, 1.3)], max_tokens=7).lengths == [7]


def test_euclidean_codes() -> None:
    random = np.random.default_rng(0)
    vectors, hidden = random.standard_normal((50, 16)), random.standard_normal((200, 16))
    codebook = EuclideanCodebook(16, 50)
    codebook.embed = mx.array(vectors, mx.float32)
    unit = hidden / np.linalg.norm(hidden, axis=1, keepdims=True)
    expected = np.square(unit[:, None] - vectors).sum(axis=2)
    np.testing.assert_allclose(codebook.distances(mx.array(hidden, mx.float32)), expected, rtol=1e-4)
    assert np.array(codebook(mx.array(hidden, mx.float32))).tolist() == expected.argmin(axis=1).tolist()


def test_finite_scalar_codes() -> None:
    random = np.random.default_rng(0)
    hidden = random.standard_normal((200, 16))
    codebook = FiniteScalarCodebook(16)
    weight, bias = (np.array(codebook.project_down[name], np.float64) for name in ("weight", "bias"))
    digits = np.rint(np.tanh(hidden @ (8 * weight).T + bias) * 0.999) + 1
    codebook.project_down.weight = 8 * codebook.project_down.weight
    expected = (digits * 3.0 ** np.arange(8)).sum(axis=1)
    found = np.array(codebook(mx.array(hidden, mx.float32)))
    assert found.tolist() == expected.tolist()
    assert set(digits.ravel()) == {0, 1, 2}
    extreme = np.array(codebook(mx.array([[1e3] * 16, [-1e3] * 16])))
    assert extreme.min() >= 0 and extreme.max() < 6561


def test_too_short(model: S3TokenizerModel) -> None:
    with pytest.raises(AudioError, match="needs more than 200"):
        tokens(model, np.zeros(200, np.float32))
    assert len(tokens(model, speech(0, 1.0)[:320])) == 1


def test_other_rates(model: S3TokenizerModel) -> None:
    found = model.tokenize(Audio(SEED.speechlike(1, 1.4, 44100), 44100))
    assert found.dtype == np.int32 and len(found) == round(1.4 * model.tokens_per_second)


def test_padding_to_whole_tokens() -> None:
    assert pad_to_tokens(np.ones(641, np.float32), RATE).size == 1280
    assert pad_to_tokens(np.ones(640, np.float32), RATE).size == 640


def test_v2_has_one_rate() -> None:
    with pytest.raises(ValueError, match="25 tokens a second"):
        replace(PORT.variants["v2-25hz"].config, tokens_per_second=50)
