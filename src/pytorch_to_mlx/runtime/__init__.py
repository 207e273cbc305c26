"""What captured source may import of ours: lowerings of operations that MLX lacks or that have a faster form here.

Functions and modules over arrays, each documented with the PyTorch operation that it equals. None reads a graph.
"""

from pytorch_to_mlx.layers.attention import attention
from pytorch_to_mlx.layers.convolution import Conv1d, ConvTranspose1d
from pytorch_to_mlx.layers.elementwise import exp, gelu, gelu_tanh, mish, sigmoid, silu, sin, softmax, tanh
from pytorch_to_mlx.runtime.convolution import conv1d, conv_transpose1d, conv_transpose2d, conv_transpose3d
from pytorch_to_mlx.runtime.indexing import gather
from pytorch_to_mlx.runtime.normalization import batch_norm, group_norm, instance_norm, layer_norm
from pytorch_to_mlx.runtime.recurrent import GRU, LSTM, RNN, gru, gru_cell, lstm, lstm_cell, rnn, rnn_cell

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Conv1d",
    "ConvTranspose1d",
    "attention",
    "batch_norm",
    "conv1d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "exp",
    "gather",
    "gelu",
    "gelu_tanh",
    "group_norm",
    "gru",
    "gru_cell",
    "instance_norm",
    "layer_norm",
    "lstm",
    "lstm_cell",
    "mish",
    "rnn",
    "rnn_cell",
    "sigmoid",
    "silu",
    "sin",
    "softmax",
    "tanh",
]
