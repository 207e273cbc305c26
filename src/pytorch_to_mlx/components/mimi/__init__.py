"""Mimi (Kyutai's Moshi, arXiv:2410.00037): the encoder from sound to codes, and the split residual quantizer."""

from pytorch_to_mlx.components.mimi.network import Count, MimiEncoder, MimiEncoderConfig
from pytorch_to_mlx.components.mimi.quantizer import ResidualQuantizer, codebook_weights
from pytorch_to_mlx.components.mimi.weights import CODEBOOKS, weights

__all__ = ["CODEBOOKS", "Count", "MimiEncoder", "MimiEncoderConfig", "ResidualQuantizer", "codebook_weights", "weights"]
