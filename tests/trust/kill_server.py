"""Run by test_kill.py: forks a writer for each line of stdin and says on stdout how it ended.

Forking keeps the interpreter and its imports, so that a killed conversion costs milliseconds.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pytorch_to_mlx.errors import PytorchToMlxError
from pytorch_to_mlx.folder import (
    Converter,
    FolderConfig,
    FolderWriter,
    SourceRecord,
    replace_file,
    workspace,
)
from pytorch_to_mlx.weights import TensorSpec

SPECS = [TensorSpec(f"layers.{i}.weight", (8, 5), "float32") for i in range(5)]


def write(target: Path, variant: str) -> None:
    """A model folder of two shards, a card and an asset in a subfolder; variants differ in all of it."""
    source = SourceRecord(kind="package", location="somewhere")
    config = FolderConfig(
        model_type="toy",
        variant=variant,
        task="nothing",
        dtype="float32",
        config={},
        source=source,
        converter=Converter(version="1"),
    )

    def tensors() -> Iterator[tuple[str, np.ndarray]]:
        for i, spec in enumerate(SPECS):
            yield spec.name, np.full(spec.shape, i + len(variant) / 8, np.float32)

    with FolderWriter(target, force=True) as writer:
        writer.write_bytes("config.json", config.to_bytes())
        writer.write_bytes("voices/default.txt", variant.encode() * 9)
        writer.write_tensors(SPECS, tensors(), max_shard_bytes=3 * SPECS[0].nbytes)
        writer.write_bytes("README.md", f"# {variant}\n".encode())


def replace(target: Path, variant: str) -> None:
    """One file of an existing folder."""
    replace_file(target, "parity.json", f'{{"of": "{variant}"}}\n'.encode())


def convert(target: Path, variant: str) -> None:
    """The real thing, from a checkpoint of the toy port that lies two folders up."""
    import small_ports

    from pytorch_to_mlx.conversion import convert

    small_ports.add_toy()
    convert(f"{target.parents[1]}/{variant}.safetensors", target, port="toy", variant=variant, force=True)


def arm_shim(root: str, log: str, at: int, half: bool, no_exchange: bool) -> None:
    """Let the preloaded library kill this process at its call number `at`."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    ctypes.CDLL(None).shim_arm(os.fsencode(root), descriptor, ctypes.c_long(at), half, no_exchange)


def arm_wrappers(root: str, log: str, at: int, half: bool, no_exchange: bool) -> None:
    """The same without a preloaded library, by wrapping what Python calls the system with."""
    lines = Path(log).open("w", buffering=1)  # noqa: SIM115 - lives as long as the process
    count = 0

    def wrap(holder: Any, name: str, call: str) -> None:
        real = getattr(holder, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            if call == "open" and not args[1] & os.O_CREAT:
                return real(*args, **kwargs)
            count += 1
            lines.write(f"{call}\t{args[0]}\t0\n")
            if count == at:
                if half and call == "write":
                    real(args[0], args[1][: len(args[1]) // 2], *args[2:])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        setattr(holder, name, counted)

    for name in ("open", "fsync", "ftruncate", "mkdir", "unlink", "rmdir", "rename", "replace"):
        wrap(os, name, name)
    wrap(os, "write", "write")
    wrap(os, "pwrite", "write")
    if no_exchange:
        workspace._exchange = lambda first, second: False
    wrap(workspace, "_exchange", "renameat2")


def serve() -> None:
    """Answers each request with {"killed": whether it was, "error": message of a failure}.

    Imports the modules that its arguments name, once for all requests.
    """
    for name in sys.argv[1:]:
        importlib.import_module(name)
    ready = {"heavy": sorted({"mlx", "torch"} & {name.partition(".")[0] for name in sys.modules})}
    print(json.dumps(ready), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        reader, result = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                globals()[f"arm_{request['instrument']}"](**request["arm"])
                globals()[request["action"]](Path(request["target"]), request["variant"])
            except (PytorchToMlxError, OSError) as error:
                os.write(result, str(error).encode())
            finally:
                os._exit(0)
        os.close(result)
        with os.fdopen(reader, "rb") as pipe:
            error = pipe.read().decode()
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print(json.dumps({"killed": killed, "error": error}), flush=True)


if __name__ == "__main__":
    serve()
