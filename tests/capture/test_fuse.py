"""Operators written by hand become MLX's own; what is almost one of them stays as it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from operator_cases import assert_same, run

ROOT = math.sqrt(2 / math.pi)
X = torch.linspace(-3, 3, 60).reshape(3, 4, 5)
Q, K, V = (torch.randn(2, 4, size, 8, generator=torch.Generator().manual_seed(size)) for size in (5, 6, 6))
MASK = torch.zeros(2, 1, 5, 6).masked_fill(torch.arange(6) > 3, torch.finfo(torch.float32).min)
WEIGHT = torch.linspace(0.5, 1.5, 5)
Function = Callable[..., Any]


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weights = torch.softmax(torch.matmul(q, k.transpose(2, 3)) * 0.3 + mask, dim=-1)
    return torch.matmul(weights, v)


def attend_with_weights(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    weights = torch.softmax(q @ k.mT / 3, dim=-1)
    return weights @ v, weights


def attend_in_two_sums(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    bias = torch.arange(6.0) / 10
    return torch.softmax(q @ k.transpose(-1, -2) + bias + mask, -1) @ v


def grouped(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    k, v = (each[:, :2, None].expand(2, 2, 2, 6, 8).reshape(2, 4, 6, 8) for each in (k, v))
    return torch.nn.functional.scaled_dot_product_attention(q, k, v)


FUSED: dict[str, tuple[Function, list[torch.Tensor], str]] = {
    "gelu": (lambda x: x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0))), [X], "runtime.gelu(x0)"),
    "gelu of a product": (lambda x: 0.5 * (y := x * x) * (1 + torch.erf(y * 0.5**0.5)), [X], "runtime.gelu("),
    "gelu_tanh": (lambda x: 0.5 * x * (1 + torch.tanh(ROOT * (x + 0.044715 * torch.pow(x, 3)))), [X], "gelu_tanh(x0)"),
    "fast gelu": (lambda x: 0.5 * x * (1 + torch.tanh(x * ROOT * (1 + 0.044715 * x * x))), [X], "gelu_tanh(x0)"),
    "silu": (lambda x: x * torch.sigmoid(x), [X], "runtime.silu(x0)"),
    "rms": (
        lambda x, w: w * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)),
        [X, WEIGHT],
        "mx.fast.rms_norm(x0, x1, 1e-06)",
    ),
    "rms without weight": (lambda x: x / torch.sqrt((x * x).mean(2, True) + 0.1), [X], "rms_norm(x0, None, 0.1)"),
    "attention": (attend, [Q, K, V, MASK], "runtime.scaled_dot_product_attention(x0, x1, x2, scale=0.3, mask=x3)"),
    "attention with two masks": (attend_in_two_sums, [Q, K, V, MASK], "scaled_dot_product_attention(x0, x1, x2, "),
    "attention of sums": (
        lambda q, k, v: torch.einsum("bhqk,bhkd->bhqd", torch.einsum("bhqd,bhkd->bhqk", q, k).softmax(-1), v),
        [Q, K, V],
        "scaled_dot_product_attention(x0, x1, x2, scale=1.0",
    ),
    "heads that share keys": (grouped, [Q, K, V], "scaled_dot_product_attention(x0, x1[:, :2], x2[:, :2], "),
}
LEFT: dict[str, tuple[Function, list[torch.Tensor], str]] = {
    "another cubic": (lambda x: 0.5 * x * (1 + torch.tanh(ROOT * (x + 0.05 * x**3))), [X], "gelu"),
    "another half": (lambda x: x * (1 + torch.erf(x / math.sqrt(2.0))), [X], "gelu"),
    "of another value": (lambda x, y: 0.5 * x * (1 + torch.erf(y / math.sqrt(2.0))), [X, X + 1], "gelu"),
    "mean over another axis": (lambda x: x * torch.rsqrt(x.pow(2).mean(1, True) + 1e-6), [X], "rms_norm"),
    "a mean that is gone": (lambda x: x[:, 0] * torch.rsqrt(x.pow(2).mean(-1) + 1e-6)[0, 0], [X], "rms_norm"),
    "weights that are returned": (attend_with_weights, [Q, K, V], "scaled_dot_product"),
    "masked before it is scaled": (
        lambda q, k, v, m: torch.softmax((q @ k.mT + m) * 0.3, -1) @ v,
        [Q, K, V, MASK / 1e30],
        "scaled_dot_product",
    ),
    "another sum": (lambda q, k: torch.einsum("bhqd,bhkd->bhkq", q, k), [Q, K], "@"),
    "softmax over queries": (lambda q, k, v: torch.softmax(q @ k.mT, -2) @ v, [Q, K, V], "scaled_dot_product"),
}


@pytest.mark.parametrize("name", FUSED)
def test_written_by_hand(name: str) -> None:
    """The source has the whole operator, with the same values."""
    function, args, source = FUSED[name]
    got, want, written = run(function, args)
    assert_same(got, want)
    assert source in written, written


@pytest.mark.parametrize("name", LEFT)
def test_left_alone(name: str) -> None:
    """Something else stays what it is."""
    function, args, source = LEFT[name]
    got, want, written = run(function, args)
    assert_same(got, want)
    assert source not in written, written
