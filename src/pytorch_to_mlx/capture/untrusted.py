"""Files of torch.export and TorchScript, looked through before torch reads them.

torch's readers are for files that one trusts: that of torch.export unpickles whatever a payload holds, evaluates the
expressions of sizes, imports what a structure names and calls any attribute of torch (torch/_export/serde/serialize.py,
torch/export/pt2_archive/_package.py and torch/utils/_pytree.py of 2.13); a script may write files. What a model of
tensors has no need of is refused here.
"""

from __future__ import annotations

import io
import json
import pickle
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from pytorch_to_mlx.errors import CheckpointError, UnsafeFileError

SUFFIXES = "a .pt2 of torch.export, a TorchScript file (.pt, .jit, .ts) or an .onnx file"
LARGEST_TEXT = 2**30  # bytes of a program
MEMBERS = re.compile(
    r"(?:[^/]+/)?(?:archive_format|archive_version|version|byteorder|\.data/(?:version|serialization_id)"
    r"|\.format_version|extra/.*|models/[^/]+\.json|data/sample_inputs/[^/]+\.pt"
    r"|data/weights/[^/]+|data/constants/(?:tensor_\d+|[^/]+\.json|[^/]+\.pt)"
    r"|serialized_(?:exported_program\.json|state_dict\.(?:pt|json)|constants\.(?:pt|json)|example_inputs\.pt))"
)
TARGETS = re.compile(
    r"torch\.ops\.(?!aten\.from_file\b)\w+\.\w+(?:\.\w+)?|torch\._?sym_\w+|math\.\w+"
    r"|_operator\.(?:add|sub|mul|floordiv|truediv|mod|pow|neg|pos|abs|getitem|eq|ne|lt|le|gt|ge|and_|or_|not_|xor)"
)
SIZES = re.compile(
    r"(?:Symbol\('\w+'(?:, \w+=(?:True|False))*\)|[A-Z]\w*(?=\()|[suz]\w*\d+|true|false|int_oo|oo"
    r"|\d+(?:\.\d+)?|[(), +*/%<>=-])*"
)
SCRIPT_FILES = re.compile(r"\b(?:torch|ops\.aten)\.(?:save|from_file)\(")


def check_exported(path: Path) -> None:
    """Look through a .pt2.

    Raises:
        UnsafeFileError: it holds more than a program of tensors; names the member.
        CheckpointError: it is no zip file.
    """
    with _archive(path) as archive:
        for name in archive.namelist():
            if not MEMBERS.fullmatch(name):
                raise _unsafe(path, f"{name} is no part of a program of tensors")
            if re.search(r"/extra/", f"/{name}"):
                continue
            if name.endswith(".json"):
                _check_program(path, name, _json(path, name, archive))
            elif name.endswith(".pt"):
                _check_pickle(path, name, archive.read(name))


def check_script(path: Path) -> None:
    """Look through a TorchScript file, whose program runs when it is loaded and when it is called.

    Raises:
        UnsafeFileError: the program reads or writes files.
        CheckpointError: it is no zip file.
    """
    with _archive(path) as archive:
        for name in archive.namelist():
            if name.endswith(".py") and (found := SCRIPT_FILES.search(_text(path, name, archive))):
                raise _unsafe(path, f"{name} calls {found[0][:-1]}, which reads or writes files")


def _archive(path: Path) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); give {SUFFIXES}") from error
    names = archive.namelist()
    if len(set(names)) < len(names):
        raise CheckpointError(f"{path} holds a member twice; save it again")
    return archive


def _check_program(path: Path, member: str, program: Any) -> None:
    for key, value in _items(program):
        if key == "use_pickle" and value:
            raise _unsafe(path, f"{member} has pickled tensors")
        if key == "target" and isinstance(value, str) and not TARGETS.fullmatch(value):
            raise _unsafe(path, f"{member} calls {value!r}")
        if key == "expr_str" and not (isinstance(value, str) and SIZES.fullmatch(value)):
            raise _unsafe(path, f"{member} has {value!r} for a size")
        if key == "range_constraints" and isinstance(value, dict):
            for size in value:
                if not SIZES.fullmatch(size):
                    raise _unsafe(path, f"{member} has {size!r} for a size")
        if isinstance(value, str) and re.search("__enum__|default_factory", value):
            raise _unsafe(path, f"{member} has arguments or results of other types than Python's own containers")


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at any depth; of lists, with that of the list."""
    waiting = [("", value)]
    while waiting:
        key, each = waiting.pop()
        yield key, each
        if isinstance(each, dict):
            waiting += each.items()
        elif isinstance(each, list):
            waiting += [(key, inner) for inner in each]


def _check_pickle(path: Path, member: str, content: bytes) -> None:
    if not content:
        return
    try:
        torch.load(io.BytesIO(content), weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise _unsafe(path, f"{member} pickles more than tensors") from error


def _json(path: Path, member: str, archive: zipfile.ZipFile) -> Any:
    try:
        return json.loads(_text(path, member, archive))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: {member} is no JSON ({error})") from error


def _text(path: Path, member: str, archive: zipfile.ZipFile) -> str:
    if archive.getinfo(member).file_size > LARGEST_TEXT:
        raise CheckpointError(f"{path}: {member} is larger than any program")
    try:
        return archive.read(member).decode()
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: {member} cannot be read ({error})") from error


def _unsafe(path: Path, reason: str) -> UnsafeFileError:
    return UnsafeFileError(
        f"{path}: {reason}; such a file can run code when it is read: if you trust it, read it in a function of your "
        "own and name that with --module"
    )
