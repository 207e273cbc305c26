"""The watermarker within Chatterbox, checked as the port `perth` is."""

from pytorch_to_mlx.components.perth.stage import ALIVE, BARS, BFLOAT16, CONTROL_CASE, FLOAT16, LAYOUTS, run

__all__ = ["ALIVE", "BARS", "BFLOAT16", "CONTROL_CASE", "FLOAT16", "LAYOUTS", "run"]
