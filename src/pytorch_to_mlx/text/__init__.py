"""Text, before any model's own tokenizer."""

from pytorch_to_mlx.text.splitting import Segment, split_text

__all__ = ["Segment", "split_text"]
