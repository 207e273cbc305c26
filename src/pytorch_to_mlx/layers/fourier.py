"""Short-time Fourier transforms of few samples, both ways, by matrices: real parts, then imaginary ones."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.audio.spectrum import frame, pad_ends

OVERLAP = 4
"""Frames that each sample is in."""


class ShortFourier:
    """torch.stft and torch.istft, centred, with a Hann window and reflected ends, four frames over each sample.

    Attributes:
        bins: `n_fft / 2 + 1`; a spectrum has twice as many numbers in a frame.
        hop: samples from one frame to the next.
    """

    def __init__(self, n_fft: int) -> None:
        if n_fft % OVERLAP:
            raise ValueError(f"{n_fft} samples of a transform are no multiple of {OVERLAP}")
        self.n_fft, self.hop, self.bins = n_fft, n_fft // OVERLAP, n_fft // 2 + 1
        angles = 2 * np.pi * np.outer(np.arange(self.bins), np.arange(n_fft)) / n_fft
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
        # What overlapping squared windows add up to: at the first hop that is kept, within, and at the last.
        shares = np.square(window).reshape(OVERLAP, self.hop)
        self._envelope = np.stack([shares[:-1].sum(0), shares.sum(0), shares[1:].sum(0)]).astype(np.float32)
        self._forward = (np.concatenate([np.cos(angles), -np.sin(angles)]) * window).T.astype(np.float32)
        # Bins between 0 and the highest stand for their mirror images too.
        weights = np.array([1] + [2] * (self.bins - 2) + [1])[:, None] * window / n_fft
        self._inverse = np.concatenate([np.cos(angles) * weights, -np.sin(angles) * weights]).astype(np.float32)

    def transform(self, signal: mx.array) -> mx.array:
        """(n,), n a multiple of `hop` and more than `n_fft / 2`, to (n / hop + 1, 2 * bins)."""
        return frame(pad_ends(signal, self.n_fft // 2, "reflect"), self.n_fft, self.hop) @ mx.array(self._forward)

    def inverse(self, spectrum: mx.array) -> mx.array:
        """(n / hop + 1, 2 * bins) to (n,), n at least three hops."""
        hops = len(spectrum) - 1
        parts = (spectrum @ mx.array(self._inverse)).reshape(-1, OVERLAP, self.hop)
        # Half a window is cut off at either end; of what is left, only the outermost hops lack a frame.
        parts = mx.pad(parts, [(1, 1), (0, 0), (0, 0)])
        summed = mx.zeros((hops, self.hop))
        for i in range(OVERLAP):
            start = OVERLAP - 1 - i
            summed = summed + parts[start : start + hops, i]
        first, within, last = mx.split(mx.array(self._envelope), 3)
        envelope = mx.concatenate([first, mx.broadcast_to(within, (hops - 2, self.hop)), last])
        return (summed / envelope).reshape(-1)
