"""The speech tokenizer within Chatterbox, checked as the port `s3_tokenizer` is."""

from pytorch_to_mlx.components.s3_tokenizer.stage import ALIVE, BARS, CONTROL_CASE, LAYOUTS, run

__all__ = ["ALIVE", "BARS", "CONTROL_CASE", "LAYOUTS", "run"]
