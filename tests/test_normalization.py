"""Norms over many elements, in torch's digits."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from pytorch_to_mlx.layers.normalization import BatchNorm, GroupNorm, group_norm, moments


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
    x, weight, bias = drawn(2, 8, 96, 96), drawn(8), drawn(8)
    given = [torch.from_numpy(each) for each in (weight, bias)] if affine else []
    expected = torch.nn.functional.group_norm(torch.from_numpy(x), groups, *given, eps=1e-8).numpy()
    layer = GroupNorm(groups, 8, eps=1e-8, affine=affine)
    if affine:
        layer.weight, layer.bias = mx.array(weight), mx.array(bias)
    last = mx.array(x.transpose(0, 2, 3, 1))
    for result in (
        layer(last),
        group_norm(last, groups, layer.get("weight"), layer.get("bias"), 1e-8),
    ):
        np.testing.assert_allclose(np.array(result).transpose(0, 3, 1, 2), expected, rtol=0, atol=3e-6)


@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_is_mlxs(affine: bool) -> None:
    """At inference, compiled or not, and in training."""
    ours, theirs = BatchNorm(8, affine=affine), nn.BatchNorm(8, affine=affine)
    for layer in (ours, theirs):
        layer.running_mean, layer.running_var = mx.array(drawn(8)), mx.array(drawn(8) ** 2)
        layer.eval()
    x = mx.array(drawn(2, 5, 8))
    for function in (ours, mx.compile(ours)):
        np.testing.assert_allclose(np.array(function(x)), np.array(theirs(x)), rtol=1e-5, atol=1e-5)
    for layer in (ours, theirs):
        layer.train()
    np.testing.assert_allclose(np.array(ours(x)), np.array(theirs(x)), rtol=1e-6)
    np.testing.assert_allclose(np.array(ours.running_var), np.array(theirs.running_var), rtol=1e-6)
