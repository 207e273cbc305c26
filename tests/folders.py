"""A small model folder for the tests of folders."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pytorch_to_mlx.folder import Converter, FolderConfig, FolderWriter, SourceFile, SourceRecord
from pytorch_to_mlx.weights import TensorSpec

CONFIG = FolderConfig(
    model_type="toy",
    variant="tiny",
    task="pitch tracker",
    dtype="float32",
    config={"hidden": 3, "scale": None},
    source=SourceRecord(
        kind="hub", location="somebody/toy", revision="abc", files=[SourceFile(name="toy.pt", bytes=1234)]
    ),
    converter=Converter(version="0.1.0"),
)

TENSORS = {f"layers.{i}.weight": np.arange(12, dtype=np.float32).reshape(3, 4) + i for i in range(4)}
TENSOR_BYTES = 48


def specs_of(tensors: dict[str, np.ndarray]) -> list[TensorSpec]:
    """What a conversion announces before it writes `tensors`."""
    return [TensorSpec(name, array.shape, array.dtype.name) for name, array in tensors.items()]


def write_folder(
    target: Path,
    tensors: dict[str, np.ndarray] = TENSORS,
    *,
    config: FolderConfig = CONFIG,
    max_shard_bytes: int = 10**9,
    force: bool = False,
) -> None:
    """Writes a complete model folder."""
    with FolderWriter(target, force=force) as writer:
        writer.write_tensors(specs_of(tensors), iter(tensors.items()), max_shard_bytes)
        writer.write_bytes("config.json", config.to_bytes())


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder and its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in _files(folder)}


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def names(folder: Path) -> Sequence[str]:
    """What stands directly in a folder, hidden or not."""
    return sorted(path.name for path in folder.iterdir())
