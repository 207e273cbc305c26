"""Causal layers against plain numpy, and streams against the whole."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from pytorch_to_mlx.components.decoder import Decoder, DecoderConfig
from pytorch_to_mlx.decoding import KVCache, WindowCache
from pytorch_to_mlx.layers.causal import CausalConv1d, CausalConvTranspose1d, Stream
from pytorch_to_mlx.layers.snake import SnakeBeta

RANDOM = np.random.default_rng(0)


def signal(steps: int, channels: int = 3) -> np.ndarray:
    return RANDOM.standard_normal((2, steps, channels)).astype(np.float32)


def convolved(x: np.ndarray, layer: CausalConv1d) -> np.ndarray:
    """Every output by its definition."""
    weight, bias = np.array(layer.weight, np.float64), np.array(layer.bias, np.float64)
    taps, dilation, stride = weight.shape[1], layer.dilation, layer.stride
    count = -(-x.shape[1] // stride)
    before = dilation * (taps - 1) + 1 - stride
    mode = layer.padding_mode
    padded = np.pad(x.astype(np.float64), ((0, 0), (before, count * stride - x.shape[1]), (0, 0)), mode)
    outputs = [
        sum(padded[:, t * stride + k * dilation] @ weight[:, k].T for k in range(taps)) + bias for t in range(count)
    ]
    return np.stack(outputs, axis=1)


@pytest.mark.parametrize("mode", ["constant", "edge"])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(7, 1, 1), (1, 1, 1), (7, 1, 9), (8, 4, 1), (4, 2, 1)])
@pytest.mark.parametrize("steps", [1, 5, 24])
def test_convolution(kernel: int, stride: int, dilation: int, steps: int, mode: str) -> None:
    layer = CausalConv1d(3, 5, kernel, stride, dilation, padding_mode=mode)  # type: ignore[arg-type]
    layer.bias = mx.array(RANDOM.standard_normal(5).astype(np.float32))
    x = signal(steps)
    np.testing.assert_allclose(np.array(layer(mx.array(x))), convolved(x, layer), atol=2e-6)


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(7, 1, 1), (1, 1, 1), (7, 1, 9), (8, 4, 1)])
@pytest.mark.parametrize("mode", ["constant", "edge"])
def test_convolution_in_pieces(kernel: int, stride: int, dilation: int, mode: str) -> None:
    layer = CausalConv1d(3, 5, kernel, stride, dilation, padding_mode=mode)  # type: ignore[arg-type]
    x, stream = mx.array(signal(26)), Stream()
    pieces = [layer(x[:, start:end], stream) for start, end in ((0, 4), (4, 8), (8, 20), (20, 26))]
    np.testing.assert_allclose(np.array(mx.concatenate(pieces, axis=1)), np.array(layer(x)), atol=2e-6)


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (16, 8), (10, 5), (5, 2), (3, 1)])
def test_transposed_in_pieces(kernel: int, stride: int) -> None:
    layer = CausalConvTranspose1d(3, 5, kernel, stride)
    layer.bias = mx.array(RANDOM.standard_normal(5).astype(np.float32))
    x, stream = mx.array(signal(12)), Stream()
    whole = layer(x)
    assert whole.shape == (2, 12 * stride, 5)
    own = mx.conv_transpose1d(x, layer.weight, stride)[:, : 12 * stride] + layer.bias
    np.testing.assert_allclose(np.array(whole), np.array(own), atol=2e-6)
    pieces = [layer(x[:, start:end], stream) for start, end in ((0, 1), (1, 2), (2, 9), (9, 12))]
    np.testing.assert_allclose(np.array(mx.concatenate(pieces, axis=1)), np.array(whole), atol=2e-6)


def test_snake_with_two_parameters() -> None:
    layer = SnakeBeta(3)
    layer.alpha, layer.beta = (mx.array(RANDOM.standard_normal(3).astype(np.float32)) for _ in range(2))
    x = 4 * signal(200)
    a, b = np.exp(np.array(layer.alpha, np.float64)), np.exp(np.array(layer.beta, np.float64))
    expected = x + np.sin(a * x) ** 2 / (b + 1e-9)
    assert np.abs(np.array(layer(mx.array(x))) - expected).max() < 1e-6 * np.abs(expected).max()


WINDOWED = DecoderConfig(2, 16, 32, 2, 1, 8, rope_theta=1e4, sliding_window=4, layer_scale=True, mlp="gelu")


def test_a_window_forgets() -> None:
    """What lies outside of the last layer's reach changes nothing, and what lies inside does."""
    decoder = Decoder(WINDOWED)
    x = signal(12, 16)
    other = x.copy()
    other[:, 0] += 1
    first, second = (np.array(decoder(mx.array(each))) for each in (x, other))
    reach = 2 * (4 - 1)  # of two layers
    assert np.abs(first - second)[:, : reach + 1].max(axis=(0, 2)).min() > 1e-6
    np.testing.assert_array_equal(first[:, reach + 1 :], second[:, reach + 1 :])


@pytest.mark.parametrize("pieces", [[1] * 12, [5, 1, 6], [3, 9]])
@pytest.mark.parametrize("cache", [lambda: WindowCache(2, 4), lambda: KVCache(2)], ids=["window", "all"])
def test_a_window_in_pieces(pieces: list[int], cache: type[KVCache | WindowCache]) -> None:
    decoder, x, held = Decoder(WINDOWED), mx.array(signal(12, 16)), cache()  # type: ignore[call-arg]
    parts = [decoder(x[:, end - size : end], held) for size, end in zip(pieces, np.cumsum(pieces), strict=True)]
    np.testing.assert_allclose(np.array(mx.concatenate(parts, axis=1)), np.array(decoder(x)), atol=2e-6)
    if isinstance(held, WindowCache):
        assert all(array.shape[2] == 3 for array in held.arrays)
