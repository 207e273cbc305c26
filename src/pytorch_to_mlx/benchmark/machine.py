"""The machine that measures, in words."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path


def describe() -> dict[str, str]:
    """System, processor, memory and versions, each a line by its name."""
    ours = f"pytorch-to-mlx {version('pytorch-to-mlx')}, MLX {version('mlx')}, Python {platform.python_version()}"
    return {"system": system(), "processor": processor(), "versions": ours}


def system() -> str:
    """Its kind, cores and memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{platform.system()} {platform.machine()}, {cores()} cores, {memory / 1e9:.3g} GB of memory"


def cores() -> int:
    """That this process may use: a container's share, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """Its name, as the system tells it."""
    if sys.platform == "darwin":
        told = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False)
        return told.stdout.strip() or platform.processor()
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(errors="replace").splitlines() if listed.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def load_average() -> float:
    """Of the last minute."""
    return os.getloadavg()[0]
