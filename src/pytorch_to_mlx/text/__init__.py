"""Text, before any model's own tokenizer."""

from pytorch_to_mlx.text.byte_level import gpt2_tokenizer_json, qwen2_tokenizer_json
from pytorch_to_mlx.text.library import read_tokenizer
from pytorch_to_mlx.text.splitting import LIMIT, Segment, split_sentences, split_text

__all__ = [
    "LIMIT",
    "Segment",
    "gpt2_tokenizer_json",
    "qwen2_tokenizer_json",
    "read_tokenizer",
    "split_sentences",
    "split_text",
]
