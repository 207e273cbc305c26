"""The optional library that text models need."""

from __future__ import annotations

from types import ModuleType

from pytorch_to_mlx.errors import MissingDependencyError


def tokenizers_library() -> ModuleType:
    """`tokenizers`, imported.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import tokenizers
    except ImportError as error:
        raise MissingDependencyError(
            "Chatterbox's text needs the package tokenizers: pip install 'pytorch-to-mlx[chatterbox]'"
        ) from error
    return tokenizers
