"""What captured source may import of ours: lowerings of operations that MLX lacks or that have a faster form here.

Functions and modules over arrays, each documented with the PyTorch operation that it equals. None reads a graph.
"""

from pytorch_to_mlx.layers.attention import attention
from pytorch_to_mlx.layers.elementwise import exp, gelu, gelu_tanh, mish, sigmoid, silu, sin, softmax, tanh
from pytorch_to_mlx.runtime.indexing import gather

__all__ = [
    "attention",
    "exp",
    "gather",
    "gelu",
    "gelu_tanh",
    "mish",
    "sigmoid",
    "silu",
    "sin",
    "softmax",
    "tanh",
]
