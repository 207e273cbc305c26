"""One measured piece of work, in a process of its own.

    python child.py WORK SOURCE TARGET

imports what the work needs, prints the seconds that took, waits for a line on standard input, works, and prints the
seconds that took. It runs in mlx_lm's environment too, so it imports nothing of the project beforehand.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

STARTED = time.perf_counter()
WEIGHTS = (".safetensors", ".bin")


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a folder's tensors."""
    return sorted(file for file in folder.iterdir() if file.suffix in WEIGHTS)


def sync(folder: Path) -> None:
    """Make a folder and its files durable."""
    for path in (*folder.iterdir(), folder, folder.parent):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def copy(source: Path, target: Path) -> None:
    """cp without reflinks, made durable."""
    target.mkdir()
    no_links = ["--reflink=never"] if sys.platform == "linux" else []
    subprocess.run(["cp", *no_links, *map(str, weight_files(source)), str(target)], check=True)
    sync(target)


def read(source: Path, _target: Path) -> None:
    """Read every byte, as cat does."""
    buffer = bytearray(1 << 20)
    for path in weight_files(source):
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def prepare_convert(quantize: bool, source: Path) -> Callable[[Path, Path], object]:
    import llama
    from synthetic import LlamaShape

    from pytorch_to_mlx import registry
    from pytorch_to_mlx.conversion import convert

    if weight_files(source)[0].suffix == ".bin":
        import torch

        assert torch
    registry.add(llama.port(LlamaShape.read(source)))
    return lambda source, target: convert(str(source), target, port="benchmark_llama", quantize=quantize)


def prepare_load(folder: Path) -> Callable[[Path, Path], object]:
    import llama
    from synthetic import LlamaShape

    from pytorch_to_mlx import registry
    from pytorch_to_mlx.folder import read_config
    from pytorch_to_mlx.loading import load

    registry.add(llama.port(LlamaShape(**read_config(folder).config)))  # type: ignore[arg-type]
    return lambda folder, _: load(folder)


def prepare_mlx_lm_convert(quantize: bool) -> Callable[[Path, Path], object]:
    from mlx_lm.convert import convert  # type: ignore[import-not-found]

    def work(source: Path, target: Path) -> None:
        convert(str(source), str(target), quantize=quantize)
        sync(target)  # ours does so itself

    return work


def prepare_mlx_lm_load() -> Callable[[Path, Path], object]:
    from mlx_lm.utils import load_model  # type: ignore[import-not-found]

    return lambda folder, _: load_model(folder)


def main(work: str, source: Path, target: Path) -> None:
    # What libraries print must not reach the parent's pipe.
    reply = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    prepare: dict[str, Callable[[], Callable[[Path, Path], object]]] = {
        "copy": lambda: copy,
        "read": lambda: read,
        "convert": lambda: prepare_convert(False, source),
        "convert -q": lambda: prepare_convert(True, source),
        "load": lambda: prepare_load(source),
        "mlx_lm convert": lambda: prepare_mlx_lm_convert(False),
        "mlx_lm convert -q": lambda: prepare_mlx_lm_convert(True),
        "mlx_lm load": prepare_mlx_lm_load,
    }
    run = prepare[work]()
    print(time.perf_counter() - STARTED, file=reply)
    sys.stdin.readline()
    started = time.perf_counter()
    kept = run(source, target)
    print(time.perf_counter() - started, file=reply)
    del kept


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
