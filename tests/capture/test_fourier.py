"""Fourier transforms as speech models call them, and what torch does with more than it needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from operator_cases import assert_same, run

SIGNAL = torch.randn(2, 400, generator=torch.Generator().manual_seed(0))
WINDOW = torch.hann_window(64)
NARROW = torch.hamming_window(40)


def spectrum(x: torch.Tensor, window: torch.Tensor, **options: Any) -> torch.Tensor:
    """`torch.stft` with a step of 16."""
    return torch.stft(x, 64, 16, len(window), window, return_complex=True, **options)


def signal(x: torch.Tensor, window: torch.Tensor, **options: Any) -> torch.Tensor:
    """`torch.istft` with a step of 16."""
    return torch.istft(x, 64, 16, len(window), window, **options)


COMPLEX = spectrum(SIGNAL, WINDOW)
BOTH = torch.cat([COMPLEX, COMPLEX[:, :31]], 1)  # not Hermitian
CASES: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "centred": (spectrum, [SIGNAL, WINDOW]),
    "not centred": (lambda x, w: spectrum(x, w, center=False), [SIGNAL, WINDOW]),
    "padded with zeros": (lambda x, w: spectrum(x, w, pad_mode="constant"), [SIGNAL, WINDOW]),
    "narrow window, normalized": (lambda x, w: spectrum(x, w, normalized=True), [SIGNAL, NARROW]),
    "both sides": (lambda x, w: spectrum(x, w, onesided=False), [SIGNAL, WINDOW]),
    "magnitude": (lambda x, w: spectrum(x, w).abs(), [SIGNAL[0], WINDOW]),
    "real and imaginary": (lambda x, w: torch.view_as_real(spectrum(x, w)), [SIGNAL, WINDOW]),
    "inverse": (signal, [COMPLEX, WINDOW]),
    "inverse of a length": (lambda x, w: signal(x, w, length=390), [COMPLEX, WINDOW]),
    "inverse of both sides": (
        lambda x, w: signal(x, w, onesided=False),
        [BOTH, WINDOW],
    ),
    "from magnitude and phase": (lambda x, w: signal(torch.polar(x.abs(), x.angle()), w), [COMPLEX, WINDOW]),
    "hfft": (lambda x: torch.fft.hfft(x, n=31, norm="forward"), [COMPLEX]),
    "padded transform": (lambda x: torch.fft.rfft(x, n=512, dim=-1), [SIGNAL]),
    "frequencies": (lambda x: x[:, :9] * torch.fft.rfftfreq(16, 0.5), [SIGNAL]),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_torchs(case: str) -> None:
    function, args = CASES[case]
    got, want, _ = run(function, args)
    assert_same(got, want)
