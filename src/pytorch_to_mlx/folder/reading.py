"""Reads the weights of a model folder: checked first, then handed to MLX as they lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_to_mlx.checkpoint import open_checkpoint
from pytorch_to_mlx.errors import FolderError
from pytorch_to_mlx.folder.shards import CODES

if TYPE_CHECKING:
    import mlx.core as mx

_NAMES = ("model.safetensors", "model.safetensors.index.json")


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files of a model folder: valid, complete, inside the folder, no name in two of them.

    Raises:
        CheckpointError: damaged, missing or contradictory files.
        UnsafeFileError: a path that leaves the folder.
        FolderError: weights under another name, a shard or index beside those that are used, or a dtype that MLX
            would refuse or read as another.
    """
    with open_checkpoint(folder) as checkpoint:
        used, files = checkpoint.path.name, checkpoint.files
        for info in map(checkpoint.info, checkpoint):
            if info.dtype not in CODES:
                raise FolderError(
                    f"{info.file}: {info.name} is {info.dtype}, which MLX has not: convert the model again"
                )
    if checkpoint.format != "safetensors" or used not in _NAMES:
        raise FolderError(f"{folder}: has no {' or '.join(_NAMES)} of safetensors: convert the model again")
    known = {used, *(file.name for file in files)}
    for other in sorted(folder.glob("model*.safetensors*")):
        if other.name not in known:
            raise FolderError(f"{other}: belongs to no {used}: convert the model again")
    return tuple(file for file in files if file.name != _NAMES[1])


def load_weights(folder: Path) -> dict[str, mx.array]:
    """All parameters by name, as they lie in the files; MLX reads an array's data when it is first evaluated.

    Raises:
        FolderError, CheckpointError: as `weight_files`.
    """
    import mlx.core as mx

    weights: dict[str, mx.array] = {}
    for file in weight_files(folder):
        loaded = mx.load(str(file))
        assert isinstance(loaded, dict)
        weights |= loaded
    return weights
