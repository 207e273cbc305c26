"""ATen's operators in MLX, a function for each family; `LOWERINGS` is the table."""

from pytorch_to_mlx.capture.operators import elementwise, linear, reductions, shapes
from pytorch_to_mlx.capture.operators.registry import INEXPRESSIBLE, LOWERINGS

__all__ = ["INEXPRESSIBLE", "LOWERINGS", "elementwise", "linear", "reductions", "shapes"]
