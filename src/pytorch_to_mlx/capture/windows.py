"""Windows of signals that torch computes by kernels alone, in terms of other operators (aten/src/ATen/native)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch


def hamming(
    length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, **options: Any
) -> torch.Tensor:
    """`torch.hamming_window`, (length,)."""
    return _result(alpha - beta * torch.cos(2 * math.pi * _places(length, periodic)), options)


def blackman(length: int, periodic: bool = True, **options: Any) -> torch.Tensor:
    """`torch.blackman_window`, (length,)."""
    turns = 2 * math.pi * _places(length, periodic)
    return _result(0.42 - 0.5 * torch.cos(turns) + 0.08 * torch.cos(2 * turns), options)


def bartlett(length: int, periodic: bool = True, **options: Any) -> torch.Tensor:
    """`torch.bartlett_window`, (length,): a triangle."""
    return _result(1 - torch.abs(2 * _places(length, periodic) - 1), options)


def kaiser(length: int, periodic: bool = True, beta: float = 12.0, **options: Any) -> torch.Tensor:
    """`torch.kaiser_window`, (length,)."""
    inside = torch.clamp(1 - torch.square(2 * _places(length, periodic) - 1), min=0)
    return _result(torch.i0(beta * torch.sqrt(inside)) / torch.i0(torch.full((), beta)), options)


def _places(length: int, periodic: bool) -> torch.Tensor:
    """Of each sample, 0 at the first and 1 at the last or the one that would follow."""
    return torch.arange(length, dtype=torch.float32) / (length if periodic else length - 1)


def _result(window: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
    return (torch.ones_like(window) if len(window) == 1 else window).to(options.get("dtype") or torch.float32)


FUNCTIONS = {
    "hamming_window": hamming,
    "blackman_window": blackman,
    "bartlett_window": bartlett,
    "kaiser_window": kaiser,
}


def decompositions() -> dict[torch._ops.OpOverload, Callable[..., Any]]:
    """By operator, those that write into a tensor left out."""
    packets = {name: getattr(torch.ops.aten, name) for name in FUNCTIONS}
    return {
        getattr(packet, overload): FUNCTIONS[name]
        for name, packet in packets.items()
        for overload in packet.overloads()
        if not overload.endswith("out")
    }
