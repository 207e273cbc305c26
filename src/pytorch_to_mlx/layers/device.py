"""Where lowerings are chosen, for all of `layers`: models never mention a device.

They are for the Linux CPU backend, measured on MLX 0.32.4 (benchmarks/layers.py). Metal, CUDA and macOS's CPU keep
MLX's own operations.
"""

from __future__ import annotations

import shutil
import sys
from functools import cache

import mlx.core as mx


def linux_cpu() -> bool:
    """Whether operations run on the Linux CPU backend now: asked at each call, since `mx.stream` may change it."""
    return mx.default_device().type == mx.DeviceType.cpu and sys.platform == "linux"


@cache
def can_compile() -> bool:
    """Whether `mx.compile` fuses on the CPU: it calls g++, and without one runs each operation by itself."""
    return shutil.which("g++") is not None
