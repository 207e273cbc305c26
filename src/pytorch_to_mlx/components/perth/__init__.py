"""Resemble AI's Perth watermarker (package resemble-perth 1.0.1, "implicit"): network, signal path and weights."""

from pytorch_to_mlx.components.perth.network import Perth
from pytorch_to_mlx.components.perth.watermarker import PerthWatermarker
from pytorch_to_mlx.components.perth.weights import FILES, PACKAGE, SIGNATURE, WEIGHTS

__all__ = ["FILES", "PACKAGE", "SIGNATURE", "WEIGHTS", "Perth", "PerthWatermarker"]
