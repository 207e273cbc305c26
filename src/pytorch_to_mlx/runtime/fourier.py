"""Fourier transforms of Hermitian signals, which `mx.fft` lacks."""

from __future__ import annotations

import mlx.core as mx

REVERSED = {"backward": "forward", "forward": "backward", "ortho": "ortho"}
"""Which way a transform is scaled that the one the other way stands for."""


def hfft(x: mx.array, n: int | None = None, axis: int = -1, norm: str = "backward") -> mx.array:
    """The real transform of half a Hermitian signal, as `torch.fft.hfft`."""
    return mx.fft.irfft(mx.conj(x), n=n, axis=axis, norm=REVERSED[norm])


def ihfft(x: mx.array, n: int | None = None, axis: int = -1, norm: str = "backward") -> mx.array:
    """Half of the Hermitian signal whose transform is the real x, as `torch.fft.ihfft`."""
    return mx.conj(mx.fft.rfft(x, n=n, axis=axis, norm=REVERSED[norm]))


def hfftn(
    x: mx.array, s: tuple[int, ...] | None = None, axes: tuple[int, ...] | None = None, norm: str = "backward"
) -> mx.array:
    """The real transform over `axes` of a signal that is Hermitian, half of it along the last, as `torch.fft.hfftn`."""
    return mx.fft.irfftn(mx.conj(x), s=s, axes=axes, norm=REVERSED[norm])


def ihfftn(
    x: mx.array, s: tuple[int, ...] | None = None, axes: tuple[int, ...] | None = None, norm: str = "backward"
) -> mx.array:
    """Half of the Hermitian signal whose transform over `axes` is the real x, as `torch.fft.ihfftn`."""
    return mx.conj(mx.fft.rfftn(x, s=s, axes=axes, norm=REVERSED[norm]))
