"""Checkpoints: PyTorch's own files, read lazily as named tensors, and never executed."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from pytorch_to_mlx.checkpoint.files import member, naming, some
from pytorch_to_mlx.checkpoint.formats import SUFFIXES, read_file
from pytorch_to_mlx.checkpoint.index import read_index
from pytorch_to_mlx.checkpoint.tensors import Contents, LazyTensor, TensorInfo
from pytorch_to_mlx.errors import CheckpointError, SourceError

__all__ = ["Checkpoint", "TensorInfo", "open_checkpoint"]

# What a folder's weights are called, in the order in which the Hub's own libraries look.
_USUAL_NAMES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


class Checkpoint:
    """The tensors of one checkpoint by name. A context manager; arrays that were read outlive it.

    Nested pickles are flattened with dotted names ("model_state.lstm.weight"); values that are not tensors
    are left out. Two names of one storage (tied weights) both appear.

    Attributes:
        format: "safetensors", "torch-zip", "torch-legacy", "torch-tar", "torchscript" or "onnx".
        path: what was opened: a file, or the index of a sharded checkpoint.
        files: every file that belongs to it.
        metadata: the file's own key-value pairs (safetensors, ONNX, an index), as text.
    """

    def __init__(self, path: Path, contents: Contents) -> None:
        self.path = path
        self.format = contents.format
        self.files = contents.files
        self.metadata: dict[str, str] = dict(contents.metadata)
        self._tensors: Mapping[str, LazyTensor] = contents.tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def __enter__(self) -> "Checkpoint":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def info(self, name: str) -> TensorInfo:
        """Type, shape and file of a tensor, none of it read. Raises CheckpointError for an unknown name."""
        if name not in self._tensors:
            raise CheckpointError(f"{self.path}: there is no tensor {name!r}")
        return self._tensors[name].info

    def read(self, name: str) -> np.ndarray:
        """A tensor's elements, read-only, in the file's layout; a view of the mapped file where possible.

        Raises:
            CheckpointError: there is no such tensor, or its bytes cannot be read.
        """
        info = self.info(name)
        with naming(info.file):
            return self._tensors[name].load()

    def close(self) -> None:
        """Let go of the files. Arrays that were read stay valid."""
        self._tensors = {}


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a weights file, the index of a sharded checkpoint, or a folder that holds one of them.

    Only headers are read. In a folder, `model.safetensors`, `pytorch_model.bin` and their indexes come first;
    else it must hold exactly one index or one weights file.

    Raises:
        SourceError: there is nothing at `path`, or no checkpoint, or several, in the folder.
        CheckpointError: a file is damaged, incomplete or unsupported; names the file and the tensor.
        UnsafeFileError: a file would run code, or a path leaves its folder.
        MissingDependencyError: the format needs torch or onnx.
    """
    with naming(path):
        if not path.exists():
            raise SourceError("no such file or folder")
    if path.is_dir():
        path = _weights_of(path)
    contents = read_index(path) if path.suffix == ".json" else read_file(path)
    if not contents.tensors:
        raise CheckpointError(f"{path}: holds no tensors (of an ONNX model only initialisers are read)")
    return Checkpoint(path, contents)


def _weights_of(folder: Path) -> Path:
    with naming(folder):
        held = {entry.name for entry in folder.iterdir()}
        found = [name for name in _USUAL_NAMES if name in held][:1]
        found = found or [name for name in held if name.endswith(".index.json")]
        found = found or [name for name in held if name.endswith(SUFFIXES)]
        if not found:
            raise SourceError(f"holds no checkpoint; looked for {', '.join(f'*{suffix}' for suffix in SUFFIXES)}")
        if len(found) > 1:
            raise SourceError(f"holds several checkpoints ({some(found)}); name the one to open")
        return member(folder, found[0])
