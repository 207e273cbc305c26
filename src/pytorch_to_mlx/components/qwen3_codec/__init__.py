"""The 12 Hz codec of Qwen3-TTS (arXiv:2601.15621): Mimi's encoder, and a causal convolutional decoder."""

from pytorch_to_mlx.components.qwen3_codec.config import CodecConfig, CodecDecoderConfig, from_json
from pytorch_to_mlx.components.qwen3_codec.decoder import CodecDecoder, CodecStream
from pytorch_to_mlx.components.qwen3_codec.network import Codec
from pytorch_to_mlx.components.qwen3_codec.weights import weights

__all__ = ["Codec", "CodecConfig", "CodecDecoder", "CodecDecoderConfig", "CodecStream", "from_json", "weights"]
