"""Special functions in float32 against torch's in float64, point by point."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest
import torch

from pytorch_to_mlx import runtime

special = torch.special
CASES: dict[str, tuple[Callable[..., torch.Tensor], float, float]] = {
    "digamma": (torch.digamma, -20.03, 120),
    "erfc": (torch.erfc, -5, 9),
    "erfcx": (special.erfcx, -8, 80),
    "i0": (special.i0, -80, 80),
    "i0e": (special.i0e, -200, 200),
    "i1": (special.i1, -80, 80),
    "i1e": (special.i1e, -200, 200),
    "j0": (special.bessel_j0, -60, 60),
    "j1": (special.bessel_j1, -60, 60),
    "k0": (special.modified_bessel_k0, 0.01, 80),
    "k0e": (special.scaled_modified_bessel_k0, 0.01, 200),
    "k1": (special.modified_bessel_k1, 0.01, 80),
    "k1e": (special.scaled_modified_bessel_k1, 0.01, 200),
    "lgamma": (torch.lgamma, -20.03, 120),
    "log_ndtr": (special.log_ndtr, -80, 10),
    "ndtri": (special.ndtri, 1e-6, 1 - 1e-6),
    "sinc": (torch.sinc, -20, 20),
    "y0": (special.bessel_y0, 0.01, 60),
    "y1": (special.bessel_y1, 0.01, 60),
}
EDGES = [0.0, -0.0, float("inf"), float("-inf"), float("nan")]


def _points(low: float, high: float) -> np.ndarray:
    return np.linspace(low, high, 4001).astype(np.float32)


def _assert_near(got: mx.array, want: torch.Tensor) -> None:
    """Within 1e-5, of the value or of one."""
    mine, theirs = np.array(got).astype(np.float64), want.numpy()
    finite = np.isfinite(theirs) & (np.abs(theirs) < 1e37)
    error = np.abs(mine - theirs)[finite]
    assert (error / np.maximum(np.abs(theirs[finite]), 1)).max() <= 1e-5
    assert np.isfinite(mine[finite]).all()


@pytest.mark.parametrize("name", CASES)
def test_function(name: str) -> None:
    """Near torch's everywhere, and the same of nothing, infinities and nan."""
    function, low, high = CASES[name]
    x = _points(low, high)
    _assert_near(getattr(runtime, name)(mx.array(x)), function(torch.tensor(x).double()))
    got = np.array(getattr(runtime, name)(mx.array(EDGES)))
    np.testing.assert_allclose(got, function(torch.tensor(EDGES)).numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_polygamma(order: int) -> None:
    x = _points(-9.97, 60)
    _assert_near(runtime.polygamma(order, mx.array(x)), torch.polygamma(order, torch.tensor(x).double()))


@pytest.mark.parametrize("a", [0.1, 1, 5, 20, 100, 400])
def test_incomplete_gamma(a: float) -> None:
    x = _points(0.001, 3 * a + 5)
    shape = np.full_like(x, a)
    wide = torch.tensor(shape).double(), torch.tensor(x).double()
    _assert_near(runtime.igamma(mx.array(shape), mx.array(x)), special.gammainc(*wide))
    _assert_near(runtime.igammac(mx.array(shape), mx.array(x)), special.gammaincc(*wide))


@pytest.mark.parametrize("s", [1.1, 2.0, 5.5])
def test_zeta(s: float) -> None:
    q = _points(0.05, 300)
    exponent = np.full_like(q, s)
    want = special.zeta(torch.tensor(exponent).double(), torch.tensor(q).double())
    _assert_near(runtime.zeta(mx.array(exponent), mx.array(q)), want)
