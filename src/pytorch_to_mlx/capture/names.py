"""Names that Python and MLX take: of attributes as in PyTorch, of variables as in the original source."""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Container, Iterator
from itertools import count

import mlx.nn as nn

TAKEN = {"self", "mx", "nn", "runtime", *keyword.kwlist, *dir(builtins)} - {
    "input",
    "hidden",
    "filter",
    "iter",
    "next",
    "hash",
}
METHODS = set(dir(nn.Module)) | {"state", "training"}


def attribute_name(name: str) -> str:
    """The name of a module's attribute: PyTorch's, unless `mlx.nn.Module` has a method so called or would hide it.

    MLX leaves attributes with a leading underscore out of the parameters.
    """
    plain = name.lstrip("_") or "_"
    return f"{plain}_" if plain in METHODS else plain


def variable_name(name: str) -> str:
    """A name for a variable: `name`, made an identifier that hides nothing."""
    plain = "".join(c if f"x{c}".isidentifier() else "_" for c in name).strip("_") or "x"
    if plain[0].isdigit():
        plain = f"x{plain}"
    return f"{plain}_" if plain in TAKEN else plain


def numbered(name: str, separator: str = "_") -> Iterator[str]:
    """`name`, `name_2`, `name_3` and so on: for whoever looks for one that is free."""
    yield name
    yield from (f"{name.rstrip('_')}{separator}{number}" for number in count(2))


def free_name(name: str, taken: Container[str], separator: str = "_") -> str:
    """The first of `numbered` that is not taken."""
    return next(each for each in numbered(name, separator) if each not in taken)


def is_attribute(name: str) -> bool:
    """Whether it can stand behind a dot."""
    return name.isidentifier() and not keyword.iskeyword(name)


def class_name(kind: str) -> str:
    """The name of a PyTorch class, without its module."""
    plain = kind.rpartition(".")[2] or "Model"
    if not is_attribute(plain):  # of a file
        return variable_name(plain)
    return f"{plain}_" if keyword.iskeyword(plain) or plain in dir(builtins) else plain
