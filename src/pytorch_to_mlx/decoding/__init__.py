"""What autoregressive models decode with: a cache of keys and values, samplers, and the token loop."""

from pytorch_to_mlx.decoding.cache import KVCache, WindowCache
from pytorch_to_mlx.decoding.loop import generate
from pytorch_to_mlx.decoding.sampling import (
    MinP,
    Processor,
    RepetitionPenalty,
    Sampler,
    Temperature,
    TopK,
    TopP,
    choose,
    greedy,
    sample,
)

__all__ = [
    "KVCache",
    "MinP",
    "Processor",
    "RepetitionPenalty",
    "Sampler",
    "Temperature",
    "TopK",
    "TopP",
    "WindowCache",
    "choose",
    "generate",
    "greedy",
    "sample",
]
