"""Short-time Fourier transforms of 16 samples every 4, both ways, by matrices: real parts, then imaginary ones."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.audio.spectrum import frame, pad_ends

N_FFT = 16
HOP = 4
BINS = N_FFT // 2 + 1
OVERLAP = N_FFT // HOP

_angles = 2 * np.pi * np.outer(np.arange(BINS), np.arange(N_FFT)) / N_FFT
_window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)
# What overlapping squared windows add up to: at the first hop that is kept, within, and at the last.
_shares = np.square(_window).reshape(OVERLAP, HOP)
_ENVELOPE = np.stack([_shares[:-1].sum(0), _shares.sum(0), _shares[1:].sum(0)]).astype(np.float32)

_FORWARD = (np.concatenate([np.cos(_angles), -np.sin(_angles)]) * _window).T.astype(np.float32)
# Bins between 0 and the highest stand for their mirror images too.
_weights = np.array([1] + [2] * (BINS - 2) + [1])[:, None] * _window / N_FFT
_INVERSE = np.concatenate([np.cos(_angles) * _weights, -np.sin(_angles) * _weights]).astype(np.float32)


def stft(signal: mx.array) -> mx.array:
    """(n,), n a multiple of 4, at least 12, to (n / 4 + 1, 18): torch.stft, centred, Hann window, reflected ends."""
    return frame(pad_ends(signal, N_FFT // 2, "reflect"), N_FFT, HOP) @ mx.array(_FORWARD)


def istft(spectrum: mx.array) -> mx.array:
    """(n / 4 + 1, 18) to (n,): torch.istft, which divides by the overlap of squared windows."""
    hops = len(spectrum) - 1
    parts = (spectrum @ mx.array(_INVERSE)).reshape(-1, OVERLAP, HOP)
    # Half a window is cut off at either end; of what is left, only the outermost hops lack a frame.
    parts = mx.pad(parts, [(1, 1), (0, 0), (0, 0)])
    summed = mx.zeros((hops, HOP))
    for i in range(OVERLAP):
        start = OVERLAP - 1 - i
        summed = summed + parts[start : start + hops, i]
    first, within, last = mx.split(mx.array(_ENVELOPE), 3)
    envelope = mx.concatenate([first, mx.broadcast_to(within, (hops - 2, HOP)), last])
    return (summed / envelope).reshape(-1)
