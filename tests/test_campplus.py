"""CAM++: every tensor accounted for, masks by segments, and recordings too short for it."""

from __future__ import annotations

import re

import mlx.core as mx
import numpy as np
import pytest
import upstream_shapes
from held import Held
from small_ports import SEED

from pytorch_to_mlx.components.campplus import WEIGHTS, CAMPPlus
from pytorch_to_mlx.components.campplus.network import _segment_means
from pytorch_to_mlx.errors import AudioError, WeightMapError
from pytorch_to_mlx.port import parameter_shapes


def wav(seconds: float, seed: int = 0) -> np.ndarray:
    return SEED.speechlike(seed, seconds, 16000)


def test_937_tensors_of_which_122_are_counters() -> None:
    shapes = upstream_shapes.campplus()
    assert len(shapes) == 937
    plan = WEIGHTS.plan(Held.empty(shapes), parameter_shapes(CAMPPlus()), where="s3gen")
    table = plan.table()
    assert len(plan.outputs) == 815 and len({row.source for row in table}) == 937
    assert sum(not row.target for row in table) == 122


@pytest.mark.parametrize("missing", ["head.conv1.weight", "xvector.dense.nonlinear.batchnorm.running_var"])
def test_a_missing_tensor_is_named(missing: str) -> None:
    shapes = {name: shape for name, shape in upstream_shapes.campplus().items() if name != missing}
    with pytest.raises(WeightMapError, match=re.escape(missing)):
        WEIGHTS.plan(Held.empty(shapes), parameter_shapes(CAMPPlus()), where="s3gen")


def test_embeddings_tell_recordings_apart() -> None:
    network = upstream_shapes.seeded_campplus()
    first, again, other = (np.array(network.embed(wav(0.5, seed))) for seed in (1, 1, 2))
    assert first.shape == (1, 192)
    np.testing.assert_array_equal(first, again)
    assert np.linalg.norm(first - other) > 0.1 * np.linalg.norm(first)


def test_the_last_segment_may_be_shorter() -> None:
    x = mx.random.normal((1, 250, 3))
    means = np.array(_segment_means(x))
    expected = [np.array(x[:, a:b]).mean(axis=1) for a, b in ((0, 100), (100, 200), (200, 250))]
    np.testing.assert_allclose(means, np.stack(expected, axis=1), atol=1e-6)
    assert _segment_means(x[:, :100]).shape == (1, 1, 3) and _segment_means(x[:, :40]).shape == (1, 1, 3)


def test_a_recording_of_two_frames_is_refused_and_three_are_enough() -> None:
    network = upstream_shapes.seeded_campplus()
    with pytest.raises(AudioError, match="2 frames of 10 ms; 3 are needed"):
        network.embed(wav(1)[:560])
    assert np.isfinite(np.array(network.embed(wav(1)[:720]))).all()
