"""The optional library that text models need."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from pytorch_to_mlx.errors import FolderError, MissingDependencyError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE = "tokenizer.json"


def tokenizers_library() -> ModuleType:
    """`tokenizers`, imported.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import tokenizers
    except ImportError as error:
        raise MissingDependencyError(
            "this model's text needs the package tokenizers: pip install 'tokenizers>=0.22.0'"
        ) from error
    return tokenizers


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a model folder, as `tokenizers` has it.

    Raises:
        FolderError: its file is missing or damaged.
        MissingDependencyError: `tokenizers` is not installed.
    """
    path = folder / FILE
    library = tokenizers_library()
    try:
        return library.Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises plain exceptions
        raise FolderError(f"{path}: cannot be read as a tokenizer ({error}); convert the model again") from error
