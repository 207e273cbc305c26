"""torch's modules of one activation function become layers that MLX has, and compute the same."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import torch
from torch import nn

from pytorch_to_mlx.capture.export import export
from pytorch_to_mlx.capture.generate import generate
from pytorch_to_mlx.capture.package import built

NAMES = """
    CELU ELU GELU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid Mish ReLU ReLU6 SELU Sigmoid SiLU
    Softplus Softshrink Softsign Tanh Tanhshrink Threshold
"""


def test_every_activation() -> None:
    layers = nn.ModuleDict(
        {name: getattr(nn, name)(*((0.1, 2.0) if name == "Threshold" else ())) for name in NAMES.split()}
    )

    class All(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(layer(x) for layer in self.layers.values())

    torch.manual_seed(0)
    x = 3 * torch.randn(4, 6)
    program = export(All(), (x,))
    found = built(generate(program), program)(mx.array(x.numpy()))
    for name, mine, theirs in zip(NAMES.split(), found, All()(x), strict=True):
        assert np.abs(np.array(mine) - theirs.numpy()).max() < 3e-6, name
