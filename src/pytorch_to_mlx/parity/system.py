"""What comparisons run on. Importing this keeps products exact: what compares imports it, `parity` itself does not."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

import mlx.core as mx

# Read at MLX's first operation; without it CUDA and the newest Apple GPUs keep 10 bits of mantissa in float32 products.
os.environ.setdefault("MLX_ENABLE_TF32", "0")


def system() -> dict[str, str]:
    """The `system` of a report."""
    return {
        "mlx": version("mlx"),
        "device": str(mx.default_device().type).split(".")[-1],
        "machine": platform.machine(),
        "TF32": "off" if os.environ["MLX_ENABLE_TF32"] == "0" else "on",
    }
