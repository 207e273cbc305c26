"""Short transforms by matrices against numpy's, in float64."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from pytorch_to_mlx.layers.fourier import ShortFourier

pytestmark = pytest.mark.parametrize("n_fft", [16, 20])


def _window(n_fft: int) -> np.ndarray:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)


def _parts(spectrum: np.ndarray) -> np.ndarray:
    return np.concatenate([np.real(spectrum), np.imag(spectrum)], axis=1)


def test_frames_are_centred_and_ends_reflected(n_fft: int) -> None:
    hop = n_fft // 4
    signal = np.random.default_rng(0).standard_normal(24 * hop)
    padded = np.pad(signal, n_fft // 2, mode="reflect")
    frames = [_window(n_fft) * padded[i * hop : i * hop + n_fft] for i in range(25)]
    ours = ShortFourier(n_fft).transform(mx.array(signal, mx.float32))
    np.testing.assert_allclose(np.array(ours), _parts(np.fft.rfft(frames)), atol=2e-6)


def test_the_inverse_divides_by_the_overlap_at_the_ends_too(n_fft: int) -> None:
    random, window, hop = np.random.default_rng(0), _window(n_fft), n_fft // 4
    shape = (25, n_fft // 2 + 1)
    spectrum = random.standard_normal(shape) + 1j * random.standard_normal(shape)
    summed, overlap = np.zeros(28 * hop), np.zeros(28 * hop)
    for i, frame in enumerate(spectrum):
        summed[hop * i : hop * i + n_fft] += window * np.fft.irfft(frame, n_fft)
        overlap[hop * i : hop * i + n_fft] += window**2
    ours = ShortFourier(n_fft).inverse(mx.array(_parts(spectrum), mx.float32))
    within = slice(n_fft // 2, -n_fft // 2)
    np.testing.assert_allclose(np.array(ours), (summed / np.maximum(overlap, 1e-9))[within], atol=2e-6)


def test_both_ways_give_the_signal_back(n_fft: int) -> None:
    signal = mx.random.normal((30 * n_fft,), key=mx.random.key(0))
    fourier = ShortFourier(n_fft)
    assert mx.abs(fourier.inverse(fourier.transform(signal)) - signal).max() < 1e-6


def test_sizes_that_have_no_quarter_are_refused(n_fft: int) -> None:
    with pytest.raises(ValueError, match="no multiple of 4"):
        ShortFourier(n_fft + 2)
