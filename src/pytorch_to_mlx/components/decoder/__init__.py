"""One transformer decoder for every port that has one."""

from pytorch_to_mlx.components.decoder.config import DecoderConfig, Llama3Scaling
from pytorch_to_mlx.components.decoder.network import Cache, Decoder, Memory
from pytorch_to_mlx.components.decoder.weights import GPT2, LLAMA, MIMI, SCALED_LLAMA

__all__ = ["GPT2", "LLAMA", "MIMI", "SCALED_LLAMA", "Cache", "Decoder", "DecoderConfig", "Llama3Scaling", "Memory"]
