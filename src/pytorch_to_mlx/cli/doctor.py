"""`doctor`: what this machine computes with, what is slow, and the one command that mends it."""

from __future__ import annotations

from typing import Annotated

import typer

OPENBLAS = "openblas-pthread/libopenblas.so.0"
NATIVE = "compiled for this processor"
PACKAGES = (
    *("pytorch-to-mlx", "mlx", "numpy", "safetensors", "huggingface-hub"),
    *("torch", "onnx", "resampy", "webrtcvad-wheels", "misaki", "sounddevice", "matplotlib"),
)


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show backend, devices, BLAS, memory and versions; tell what is slow or missing and how to mend it.

    Example:

      pytorch-to-mlx doctor
    """
    import json

    from pytorch_to_mlx.cli.output import table

    facts = {**_versions(), **_machine()}
    advice = _advice(facts)
    if as_json:
        print(json.dumps({"facts": facts, "advice": advice}, indent=2))
        return
    print(table(list(facts.items())))
    print()
    for line in advice or ["nothing to mend"]:
        print(line)


def _versions() -> dict[str, str]:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    facts = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "not installed"
    return facts


def _machine() -> dict[str, str]:
    from pytorch_to_mlx import environments
    from pytorch_to_mlx.benchmark.machine import processor, system
    from pytorch_to_mlx.cli.output import lacks_mlx

    installed = [e.name for e in environments.list_environments() if e.installed]
    try:
        computing = _computing()
    except ImportError as error:
        if not lacks_mlx(error):
            raise
        computing = {"backend": "none"}
    return {
        "system": system(),
        "processor": processor(),
        **computing,
        "references": ", ".join(installed) or "none installed yet",
    }


def _computing() -> dict[str, str]:
    import os
    import sys

    import mlx.core as mx

    info = mx.device_info()
    facts = {
        "backend": backend(),
        "device": str(info.get("device_name", info.get("architecture", "unknown"))),
        "BLAS": blas(),
        "matmul": f"{matmul_rate():.3g} GFLOP/s in float32",
    }
    if facts["backend"] != "CPU":
        facts["MLX_ENABLE_TF32"] = os.environ.get("MLX_ENABLE_TF32", "default")
    elif sys.platform == "linux":
        from pytorch_to_mlx.layers import native

        facts["C++"] = native.trouble() or NATIVE
    return facts


def backend() -> str:
    """What MLX computes on: "Metal", "CUDA" or "CPU"."""
    import mlx.core as mx

    if mx.default_device().type == mx.DeviceType.cpu:  # type: ignore[attr-defined]
        return "CPU"
    return "Metal" if mx.metal.is_available() else "CUDA"


def blas() -> str:
    """The BLAS that MLX's CPU backend calls, as far as the loaded libraries show it."""
    import sys
    from pathlib import Path

    if sys.platform == "darwin":
        return "Accelerate"
    # The last of six columns is the path, which may hold blanks.
    lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    mapped = {Path(columns[5]) for line in lines if len(columns := line.split(maxsplit=5)) == 6}
    # numpy's own lies in numpy.libs, and serves numpy alone.
    found = any("openblas" in path.name.lower() and not path.parent.name.endswith(".libs") for path in mapped)
    return "OpenBLAS" if found else "reference BLAS"


def matmul_rate() -> float:
    """Measured float32 matrix product, in 10^9 operations a second."""
    import time

    import mlx.core as mx

    size = 512
    a = mx.random.normal((size, size))
    mx.eval(a @ a)
    start, runs = time.perf_counter(), 0
    while time.perf_counter() - start < 0.2:
        mx.eval(a @ a)
        runs += 1
    return 2 * size**3 * runs / (time.perf_counter() - start) / 1e9


def _advice(facts: dict[str, str]) -> list[str]:
    from pathlib import Path

    from pytorch_to_mlx.cli.output import NO_BACKEND
    from pytorch_to_mlx.models.kokoro.phonemes import best_english

    advice = []
    if facts["backend"] == "none":
        advice.append(NO_BACKEND)
    if facts.get("BLAS") == "reference BLAS" and facts["backend"] == "CPU":
        found = sorted(Path("/usr/lib").glob(f"*/{OPENBLAS}"))
        mend = (
            f"export LD_PRELOAD={found[0]}"
            if found
            else "sudo apt-get install libopenblas0-pthread, then run doctor again"
        )
        advice.append(
            "slow: MLX multiplies matrices with a reference BLAS, much slower than OpenBLAS (docs/architecture.md)."
            f" Mend: {mend}"
        )
    if facts.get("C++", NATIVE) != NATIVE:
        advice.append(
            f"slow: attention and decoding are MLX's own instead of compiled for this processor: {facts['C++']}."
            " Mend: sudo apt-get install g++ (9 or newer)"
        )
    if facts["torch"] == "not installed":
        advice.append(
            "missing: .pt, .pth and .bin files are read by torch. Mend: python -m pytorch_to_mlx.environments torch"
        )
    if facts.get("misaki", "not installed") != "not installed" and not best_english():
        advice.append(
            "missing: Kokoro's English is said by espeak-ng alone, not as upstream says it."
            " Mend: pip install num2words spacy && python -m spacy download en_core_web_sm"
        )
    return advice
