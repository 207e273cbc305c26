"""layers/peaks: what C++ finds in one pass is what numpy finds."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from pytorch_to_mlx.layers.device import can_compile, linux_cpu
from pytorch_to_mlx.layers.peaks import peaks

pytestmark = pytest.mark.skipif(
    not (linux_cpu() and can_compile()), reason="needs the Linux CPU backend and g++: elsewhere there are no peaks"
)


@pytest.mark.parametrize("size", [1, 5, 16, 33, 1024, 1031, 51865])
def test_ranges_of_rows(size: int) -> None:
    draw = np.random.default_rng(size)
    x = (8 * draw.standard_normal((3, size))).astype(np.float32)
    bar = np.where(draw.random(size) < 0.3, -np.inf, 0).astype(np.float32)
    inner = np.sort(draw.integers(0, size + 1, (3, 3)), axis=1)
    bounds = np.concatenate([np.zeros((3, 1), int), inner, np.full((3, 1), size)], axis=1)
    found = peaks(mx.array(x), bar, bounds)
    assert found is not None
    for row in range(3):
        for number, (first, last) in enumerate(zip(bounds[row, :-1], bounds[row, 1:], strict=True)):
            part = (x[row] + bar)[first:last]
            if not part.size or np.isneginf(part).all():
                assert found.most[row, number] == found.logsumexp[row, number] == -np.inf
                continue
            assert found.most[row, number] == part.max() and found.place[row, number] == first + part.argmax()
            wanted = np.logaddexp.reduce(part.astype(np.float64))
            np.testing.assert_allclose(found.logsumexp[row, number], wanted, rtol=1e-6, atol=1e-6)


def test_of_equals_the_first_is_told() -> None:
    found = peaks(mx.ones((1, 40)), np.zeros(40, np.float32), np.array([[3, 20, 40]]))
    assert found is not None and found.place.tolist() == [[3, 20]]


def test_others_are_not_taken() -> None:
    bar, bounds = np.zeros(8, np.float32), np.array([[0, 8]])
    assert peaks(mx.ones((1, 8), mx.float16), bar, bounds) is None
    assert peaks(mx.ones((4, 8))[::2][:1], bar, bounds) is not None


@pytest.mark.parametrize("bounds", [[[0, 9]], [[-1, 8]], [[4, 2]], [[0, 8], [0, 8]]])
def test_bounds_that_cannot_be(bounds: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="ranges"):
        peaks(mx.ones((1, 8)), np.zeros(8, np.float32), np.array(bounds))
