"""Whether memory suffices: asked before a model is loaded, and read from the errors of what did not fit."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import mlx.core as mx

MEMORY = Path("/proc/meminfo")
CONTAINER = Path("/sys/fs/cgroup")
_FREE = re.compile(r"^(?:MemAvailable|SwapFree):\s+(\d+) kB$", re.MULTILINE)
_NO_MEMORY = re.compile(r"out of memory|bad_alloc|\[malloc\]|metal::malloc|insufficient memory|cudaMalloc", re.I)


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(_NO_MEMORY.search(str(error))))


def check_room(folder: Path) -> None:
    """Whether a model's weights can be in memory at all, where nothing else would say so.

    Raises:
        MemoryError: they are larger than what is free.
    """
    free = free_bytes()
    needed = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    if free is not None and needed > free:
        raise MemoryError(f"{folder}: weights of {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB of memory are free")


def free_bytes() -> int | None:
    """What a program may still take, swap included, on the CPU of Linux, where an allocation that fails ends it.

    None on Metal and CUDA, whose errors say what does not fit.
    """
    if sys.platform != "linux" or mx.default_device().type != mx.DeviceType.cpu or not MEMORY.is_file():
        return None
    free = 1024 * sum(map(int, _FREE.findall(MEMORY.read_text())))
    return min(free, _left_in_container(free))


def _left_in_container(otherwise: int) -> int:
    """What the limit of a container leaves (cgroup v2), where there is one."""
    try:
        most, used = ((CONTAINER / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        return int(most) - int(used)
    except (OSError, ValueError):  # no container, or "max": no limit
        return otherwise
