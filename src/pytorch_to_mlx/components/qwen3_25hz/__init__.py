"""The 25 Hz tokenizer of Qwen3-TTS: Whisper's encoder with a codebook, a DiT, and a causal BigVGAN."""

from pytorch_to_mlx.components.qwen3_25hz.config import Tokenizer25Config, from_json
from pytorch_to_mlx.components.qwen3_25hz.network import Tokenizer25
from pytorch_to_mlx.components.qwen3_25hz.weights import WEIGHTS

__all__ = ["WEIGHTS", "Tokenizer25", "Tokenizer25Config", "from_json"]
