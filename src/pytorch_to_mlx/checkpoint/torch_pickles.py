"""Zip and old pickles of `torch.save`: inspected by our pickle machine, then read by torch, weights only."""

import importlib.metadata
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pytorch_to_mlx.checkpoint.cursor import Cursor
from pytorch_to_mlx.checkpoint.pickle_machine import PickleMachine
from pytorch_to_mlx.checkpoint.tensors import DTYPES, Contents, LazyTensor, TensorInfo
from pytorch_to_mlx.checkpoint.torch_objects import (
    CLASSES,
    TensorRef,
    TorchObjects,
    flatten,
    item_bytes,
    lazy_tensors,
    tensor_refs,
)
from pytorch_to_mlx.checkpoint.zip_archive import ZipArchive
from pytorch_to_mlx.errors import CheckpointError, MissingDependencyError

if TYPE_CHECKING:
    import torch

MIN_TORCH = (2, 10)
MAX_PICKLE_BYTES = 64 * 2**20
OLD_MAGIC = 0x1950A86A20F9469CFC6C
OLD_PROTOCOL = 1001


def read_torch_zip(path: Path, buffer: mmap.mmap, archive: ZipArchive, root: str) -> Contents:
    """Open a zip file of `torch.save`; `root` is its one folder. torch maps the tensors at first use.

    Raises:
        UnsafeFileError: the pickle names anything but tensors and plain data.
        CheckpointError: the archive is damaged, or a tensor cannot be converted.
        MissingDependencyError: torch is absent or too old.
    """
    require_torch()
    if any(entry.method for entry in archive.entries.values()):
        raise CheckpointError("the archive is compressed, which torch.save never does; save it again")
    require_little_endian(archive, root)
    objects = TorchObjects(len(buffer))
    tree = PickleMachine(pickle_in(archive, f"{root}/data.pkl"), objects.find, objects.persistent).load()
    refs = _all_readable(tree, objects)
    places = {storage.key: archive.extent(f"{root}/data/{storage.key}") for storage in objects.storages}
    checked = lazy_tensors(refs, objects, places, buffer, path)
    return Contents("torch-zip", (path,), _through_torch(checked, path, mmap_file=True))


def read_torch_old(path: Path, buffer: mmap.mmap) -> Contents:
    """Open a pickle of torch < 1.6 (not a zip file). torch reads it whole at first use.

    Raises: as `read_torch_zip`.
    """
    require_torch()
    objects = TorchObjects(len(buffer))
    cursor = Cursor(buffer, 0, min(len(buffer), MAX_PICKLE_BYTES))

    def load() -> Any:
        return PickleMachine(cursor, objects.find, objects.persistent).load()

    if load() != OLD_MAGIC or load() != OLD_PROTOCOL:
        raise CheckpointError("a pickle that torch.save did not write; save the state dict with torch.save")
    system = load()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise CheckpointError("written on a big-endian machine; load and save it there as safetensors")
    refs = _all_readable(load(), objects)
    for name, ref in refs.items():
        if ref.storage.dtype not in CLASSES.values():
            raise CheckpointError(
                f"tensor {name!r} has dtype {ref.storage.dtype}, which torch cannot read from its old format; "
                "save the checkpoint in today's zip format"
            )
    keys = load()
    places = _stored_runs(keys, objects, Cursor(buffer, cursor.position))
    checked = lazy_tensors(refs, objects, places, buffer, path)
    return Contents("torch-legacy", (path,), _through_torch(checked, path, mmap_file=False))


def _all_readable(tree: object, objects: TorchObjects) -> dict[str, TensorRef]:
    """The tensors by name; also refuses those that no name leads to, because torch would rebuild them too."""
    refs = tensor_refs(tree)
    if objects.refused:
        raise CheckpointError(f"a tensor without a name {objects.refused[0].reason}")
    return refs


def require_torch(what: str = "a PyTorch pickle") -> None:
    """Check the installed torch without importing it: opening a checkpoint stays instant.

    Args:
        what: needs it.

    Raises:
        MissingDependencyError: torch is absent, or older than the releases whose `weights_only` is sound.
    """
    wanted = ".".join(map(str, MIN_TORCH))
    install = "install it with: python -m pytorch_to_mlx.environments torch"
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        raise MissingDependencyError(f"{what} needs torch >= {wanted}; {install}") from None
    if tuple(int(part) for part in version.split(".")[:2]) < MIN_TORCH:
        raise MissingDependencyError(
            f"{what} needs torch >= {wanted}, and {version} is installed, whose weights_only "
            f"can be made to run code; {install}"
        )


def pickle_in(archive: ZipArchive, name: str) -> Cursor:
    """A cursor over the archive's pickle."""
    place = archive.extent(name)
    if len(place) > MAX_PICKLE_BYTES:
        raise CheckpointError(f"the pickle takes {len(place)} bytes, more than the {MAX_PICKLE_BYTES} allowed")
    return Cursor(archive.buffer, place.start, place.stop)


def require_little_endian(archive: ZipArchive, root: str) -> None:
    name = f"{root}/byteorder"
    if name in archive.entries and archive.read(name, 16) != b"little":
        raise CheckpointError("written on a big-endian machine; load and save it there as safetensors")


def _stored_runs(keys: Any, objects: TorchObjects, cursor: Cursor) -> dict[str, range]:
    """Where an old pickle's storages lie: after it, in the order of `keys`, each behind its element count."""
    sizes = {(storage.key, item_bytes(storage.dtype)) for storage in objects.storages}
    item_sizes = dict(sizes)
    strings = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not strings or sorted(keys) != sorted(key for key, _ in sizes):
        raise CheckpointError("the pickle's list of storages does not match the storages that it uses")
    places = {}
    for key in keys:
        (elements,) = cursor.unpack("<q")
        begin = cursor.skip(elements * item_sizes[key])
        places[key] = range(begin, cursor.position)
    return places


def _through_torch(checked: dict[str, LazyTensor], path: Path, *, mmap_file: bool) -> dict[str, LazyTensor]:
    """The same tensors, with torch as the reader of their values."""
    loaded: dict[str, torch.Tensor] = {}

    def reader(info: TensorInfo) -> Callable[[], np.ndarray]:
        def read() -> np.ndarray:
            if not loaded:
                loaded.update(_torch_tensors(path, mmap_file))
            tensor = loaded.get(info.name)
            if tensor is None or tuple(tensor.shape) != info.shape or str(tensor.dtype) != f"torch.{info.dtype}":
                raise CheckpointError(f"torch reads tensor {info.name!r} otherwise than it is declared")
            return _as_numpy(tensor, info.dtype)

        return read

    return {name: LazyTensor(tensor.info, reader(tensor.info)) for name, tensor in checked.items()}


def _torch_tensors(path: Path, mmap_file: bool) -> dict[str, "torch.Tensor"]:
    import torch

    tree = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap_file)
    return flatten(tree, lambda value: isinstance(value, torch.Tensor))


def _as_numpy(tensor: "torch.Tensor", dtype: str) -> np.ndarray:
    """The tensor's own memory; types that NumPy lacks pass as integers of their size."""
    import torch

    plain = tensor.detach()
    wanted = DTYPES[dtype]
    if wanted.isbuiltin != 1:
        plain = plain.view(torch.int16 if wanted.itemsize == 2 else torch.uint8)
    array = plain.numpy().view(wanted)
    array.flags.writeable = False
    return array
