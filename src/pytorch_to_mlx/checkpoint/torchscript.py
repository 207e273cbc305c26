"""TorchScript archives: parameters and buffers of a saved module. Its code is read as text, and never run."""

import mmap
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytorch_to_mlx.checkpoint.pickle_machine import Buildable, Global, PickleMachine
from pytorch_to_mlx.checkpoint.tensors import Contents
from pytorch_to_mlx.checkpoint.torch_objects import TorchObjects, lazy_tensors, tensor_refs
from pytorch_to_mlx.checkpoint.torch_pickles import pickle_in, require_little_endian
from pytorch_to_mlx.checkpoint.zip_archive import ZipArchive
from pytorch_to_mlx.errors import CheckpointError

MAX_CODE_BYTES = 64 * 2**20
_LISTS = tuple(f"torch.jit._pickle.build_{kind}list" for kind in ("int", "double", "bool", "tensor"))
_TORCHBIND = "__torch__.torch.classes."
# A class and the declarations that come first in it, as torch prints them.
_CLASS = re.compile(r"^class (\w+)\((\w*)\):\n((?:  __\w+__ = .*\n)*)", re.MULTILINE)
_TENSOR_NAMES = re.compile(r"^  __(?:parameters|buffers)__ = \[(.*)\]$", re.MULTILINE)
_QUOTED = re.compile(r'"([^"]*)"')


def is_torchscript(archive: ZipArchive, root: str) -> bool:
    """Whether a zip file was written by `torch.jit.save`."""
    code = f"{root}/code/"
    return f"{root}/constants.pkl" in archive.entries or any(name.startswith(code) for name in archive.entries)


def read_torchscript(path: Path, buffer: mmap.mmap, archive: ZipArchive, root: str) -> Contents:
    """Open a TorchScript archive. Names are those of the module's `state_dict()`; tensors are mapped views.

    Raises:
        UnsafeFileError: the pickle names anything but tensors, plain data and the archive's own classes.
        CheckpointError: the archive is damaged, or a module keeps its weights packed.
    """
    require_little_endian(archive, root)
    objects = ScriptObjects(len(buffer))
    module = PickleMachine(pickle_in(archive, f"{root}/data.pkl"), objects.find, objects.persistent).load()
    refs = tensor_refs(_Modules(archive, root).state(module))
    places = {storage.key: archive.extent(f"{root}/data/{storage.key}") for storage in objects.storages}
    return Contents("torchscript", (path,), lazy_tensors(refs, objects, places, buffer, path))


class ScriptObjects(TorchObjects):
    """Also the archive's own classes, as inert objects, and the typed lists that TorchScript pickles."""

    def find(self, name: str) -> Global:
        if name.startswith("__torch__."):
            return Global(name, lambda *_: Buildable(name))
        if name in _LISTS or name == "torch.jit._pickle.restore_type_tag":
            return Global(name, lambda value, *_: value)
        return super().find(name)


@dataclass(frozen=True)
class _Class:
    """What the archive's code declares of a class; `tensors` in the order of `state_dict()`."""

    is_module: bool
    tensors: tuple[str, ...]


class _Modules:
    """Turns the archive's module objects into nested dictionaries of their parameters and buffers."""

    def __init__(self, archive: ZipArchive, root: str) -> None:
        self.archive = archive
        self.root = root
        self.code_bytes = 0
        self.files: dict[str, dict[str, _Class]] = {}
        self.states: dict[int, dict[str, Any]] = {}

    def state(self, module: object) -> dict[str, Any]:
        """Nested state of a module; one that occurs twice has one state, so its tensors have two names."""
        if not isinstance(module, Buildable):
            raise CheckpointError("the TorchScript archive does not hold a module")
        if id(module) in self.states:
            return self.states[id(module)]
        if module.kind.startswith(_TORCHBIND) or not isinstance(module.state, dict):
            raise CheckpointError(f"{module.kind!r} keeps its weights packed (quantized?); save it unquantized")
        state = self.states[id(module)] = {}
        for name in self.declared(module.kind).tensors:
            if module.state.get(name) is not None:
                state[name] = module.state[name]
        for name, value in module.state.items():
            if isinstance(value, Buildable) and self.is_module(value.kind):
                state[name] = self.state(value)
        return state

    def is_module(self, kind: str) -> bool:
        return kind.startswith(_TORCHBIND) or self.declared(kind).is_module

    def declared(self, kind: str) -> _Class:
        module, _, name = kind.rpartition(".")
        file = f"{self.root}/code/{module.replace('.', '/')}.py"
        if file not in self.files:
            self.files[file] = self._classes(file)
        if name not in self.files[file]:
            raise CheckpointError(f"the archive's code does not declare {kind!r}; it is incomplete")
        return self.files[file][name]

    def _classes(self, file: str) -> dict[str, _Class]:
        code = self.archive.read(file, MAX_CODE_BYTES - self.code_bytes).decode()
        self.code_bytes += len(code)
        return {
            name: _Class(
                base == "Module",
                tuple(tensor for names in _TENSOR_NAMES.findall(head) for tensor in _QUOTED.findall(names)),
            )
            for name, base, head in _CLASS.findall(code)
        }
