"""Norms over many elements, in torch's digits."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from pytorch_to_mlx.layers.normalization import GroupNorm, group_norm, moments


def drawn(*shape: int) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal(shape) + 1).astype(np.float32)


@pytest.mark.parametrize("axes", [(1,), (1, 2), (2, 1), (0, 1, 2), (-1,)])
def test_moments_of_a_million_elements(axes: tuple[int, ...]) -> None:
    x = drawn(2, 700, 1500)
    mean, variance = moments(mx.array(x), axes)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(np.array(mean), exact.mean(axes, keepdims=True), rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(np.array(variance), exact.var(axes, keepdims=True), rtol=2e-6)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("affine", [True, False])
def test_group_norm_is_torchs(groups: int, affine: bool) -> None:
    torch = pytest.importorskip("torch")
    x = drawn(2, 8, 96, 96)
    weight, bias = (drawn(8) if affine else None for _ in range(2))
    expected = torch.nn.functional.group_norm(
        torch.from_numpy(x), groups, *(None if v is None else torch.from_numpy(v) for v in (weight, bias)), eps=1e-8
    ).numpy()
    layer = GroupNorm(groups, 8, eps=1e-8, affine=affine)
    if affine:
        layer.weight, layer.bias = mx.array(weight), mx.array(bias)
    last = mx.array(x.transpose(0, 2, 3, 1))
    for result in (
        layer(last),
        group_norm(last, groups, layer.get("weight"), layer.get("bias"), 1e-8),
    ):
        np.testing.assert_allclose(np.array(result).transpose(0, 3, 1, 2), expected, rtol=0, atol=3e-6)
