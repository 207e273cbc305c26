"""ATen's operators in MLX, a file for each family, which fills the table `LOWERINGS` when it is imported."""

from importlib import import_module
from pkgutil import iter_modules

from pytorch_to_mlx.capture.operators.registry import INEXPRESSIBLE, LOWERINGS

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["INEXPRESSIBLE", "LOWERINGS"]
