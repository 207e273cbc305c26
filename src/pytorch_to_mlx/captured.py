"""A captured model: the folder's own source, run if it is trusted, with its weights."""

from __future__ import annotations

import operator
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Literal

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.arrays import dtype_name
from pytorch_to_mlx.errors import ConfigError, UsageError
from pytorch_to_mlx.trust import read_source

MODEL_TYPE = "captured"
SOURCE = "model.py"


@dataclass(frozen=True)
class Input:
    """One input: a number or a name for each of its sizes; equal names are equal sizes."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str


@dataclass(frozen=True)
class Allowed:
    """Numbers that a named size may have: from `least` to `most`, in steps.

    Attributes:
        least: None where the model's code sets no limit.
        step: sizes are multiples of it, counted from `least` where there is one.
    """

    least: int | None = None
    most: int | None = None
    step: int = 1

    def __contains__(self, size: int) -> bool:
        if self.most is not None and size > self.most:
            return False
        return size >= (self.least or 0) and (size - (self.least or 0)) % self.step == 0

    def __str__(self) -> str:
        if self.least is not None and self.least == self.most:
            return str(self.least)
        steps = f" in steps of {self.step}" if self.step > 1 else ""
        if self.least is None and self.most is None:
            return f"a multiple of {self.step}"
        least = self.least or self.step
        return f"{least} to {self.most}{steps}" if self.most else f"{least} or more{steps}"


Comparison = Literal["<", "<=", ">", ">=", "==", "!="]


@dataclass(frozen=True)
class Relation:
    """A comparison with 0 of the sum of named sizes, each times its weight, and an offset."""

    weights: Mapping[str, int]
    offset: int
    comparison: Comparison

    def holds(self, sizes: Mapping[str, int]) -> bool:
        total = sum(weight * sizes[name] for name, weight in self.weights.items()) + self.offset
        return COMPARISONS[self.comparison](total, 0)

    def __str__(self) -> str:
        terms = [(weight, "" if abs(weight) == 1 else f"{abs(weight)} ", name) for name, weight in self.weights.items()]
        sides = [[f"{times}{name}" for weight, times, name in terms if weight * sign > 0] for sign in (1, -1)]
        if self.offset:
            sides[self.offset < 0].append(str(abs(self.offset)))
        left, right = (" + ".join(side) or "0" for side in sides)
        return f"{left} {self.comparison} {right}"


COMPARISONS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True)
class CapturedConfig:
    """The `config` entry of `config.json`.

    Attributes:
        root: the class of the model in `model.py`.
        notes: what capture said of it.
        unused: tensors of the PyTorch model that nothing reads.
        folded: stored tensors that were computed from others of the PyTorch model, by name.
        sizes: of named sizes that the PyTorch model branches on: those for which it does what was captured.
        relations: of several such sizes.
    """

    root: str
    inputs: tuple[Input, ...]
    notes: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    folded: Mapping[str, tuple[str, ...]] | None = None
    sizes: Mapping[str, Allowed] | None = None
    relations: tuple[Relation, ...] = ()

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> CapturedConfig:
        """From its JSON form.

        Raises:
            ConfigError: it is damaged.
        """
        from pydantic import TypeAdapter, ValidationError

        try:
            return TypeAdapter(cls).validate_python(dict(fields))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise ConfigError(f"config.json: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error

    def dump(self) -> dict[str, Any]:
        """Its JSON form."""
        from pydantic import TypeAdapter

        return TypeAdapter(CapturedConfig).dump_python(self, mode="json")


class CapturedModel:
    """What `load` gives of a captured folder: call it as the PyTorch model, with arrays for its tensors.

    Attributes:
        network: the `mlx.nn.Module`, to compile, quantize or train.
        inputs: what it takes.
    """

    task = "module"

    def __init__(self, network: nn.Module, config: CapturedConfig) -> None:
        self.network = network
        self.inputs = config.inputs
        self.sizes, self.relations = config.sizes or {}, config.relations

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The model's results, in the structure that the PyTorch model returns. Integers may be of any width.

        Lists and tuples of arrays stand for those of the example, dicts too where they are given by name; what was a
        number, a truth or None there is part of the model, and left out here.

        Raises:
            UsageError: another number of inputs, or one of a shape or dtype that was not captured.
        """
        given = arguments([each.name for each in self.inputs], args, kwargs)
        arrays = [value if isinstance(value, mx.array) else mx.array(value) for value in given]
        arrays = [_widened(array, each) for array, each in zip(arrays, chain(self.inputs, repeat(None)), strict=False)]
        check_inputs(self.inputs, arrays, self.sizes, self.relations)
        return self.network(*arrays)


def arguments(names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """The arrays of a call in the order of the model's inputs, which `names` calls.

    Raises:
        UsageError: an argument is of no input, or an input is lacking.
    """
    given = list(_leaves("", args).values())
    named = {name: leaf for key, value in kwargs.items() for name, leaf in _leaves(key, value).items()}
    rest = names[len(given) :]
    if (wrong := named.keys() - set(rest)) or (kwargs and named.keys() != set(rest)):
        told = (
            f"{min(wrong)} is none of them, or given twice" if wrong else f"{min(set(rest) - named.keys())} is lacking"
        )
        raise UsageError(f"the model takes {', '.join(names)}; {told}")
    return given + [named[name] for name in rest if named]


def _leaves(name: str, value: Any) -> dict[str, Any]:
    """The arrays within an argument, named as capture names inputs: by their places, or their keys.

    `name` is empty for the tuple of all that are given by place.
    """
    if value is None:
        return {}
    if isinstance(value, dict) and not name.strip("_0123456789"):
        raise UsageError("a dict's arrays have no order here: give the argument by its name")
    if not isinstance(value, list | tuple | dict) or (name and _is_numbers(value)):
        return {name: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    inside = (_leaves(f"{name}_{key}", each) for key, each in items)
    return {path: leaf for found in inside for path, leaf in found.items()}


def _is_numbers(value: Any) -> bool:
    """Whether these are the nested rows of one array."""
    if isinstance(value, list | tuple):
        return bool(value) and all(map(_is_numbers, value))
    return isinstance(value, int | float)


def _widened(array: mx.array, expected: Input | None) -> mx.array:
    """Integers as those that the model takes; all else as it is."""
    if expected is None or expected.dtype not in ("int32", "int64") or not mx.issubdtype(array.dtype, mx.integer):
        return array
    return array.astype(getattr(mx, expected.dtype))


def check_inputs(
    expected: Sequence[Input],
    arrays: Sequence[mx.array],
    allowed: Mapping[str, Allowed] | None = None,
    relations: Sequence[Relation] = (),
) -> None:
    """Compare with what was captured.

    Raises:
        UsageError: it names the input.
    """
    if len(arrays) != len(expected):
        names = ", ".join(each.name for each in expected)
        raise UsageError(f"the model takes {len(expected)} inputs ({names}), not {len(arrays)}")
    sizes: dict[str, int] = {}
    for each, array in zip(expected, arrays, strict=True):
        shown = f"({', '.join(map(str, each.shape))})"
        fits = len(array.shape) == len(each.shape) and all(
            size == (sizes.setdefault(name, size) if isinstance(name, str) else name)
            for name, size in zip(each.shape, array.shape, strict=True)
        )
        if not fits:
            raise UsageError(
                f"input {each.name} has shape {tuple(array.shape)}; the model was captured for {shown}: "
                "capture it with an example of that shape"
            )
        if dtype_name(array.dtype) != each.dtype:
            raise UsageError(f"input {each.name} is {dtype_name(array.dtype)}; it must be {each.dtype}")
    for name, numbers in (allowed or {}).items():
        if name in sizes and sizes[name] not in numbers:
            raise UsageError(f"{name} is {sizes[name]}; the model was captured for {numbers}{OTHERWISE}")
    for relation in relations:
        if relation.weights.keys() <= sizes.keys() and not relation.holds(sizes):
            shown = " and ".join(f"{name} {sizes[name]}" for name in relation.weights)
            raise UsageError(f"sizes are {shown}; the model was captured for {relation}{OTHERWISE}")


OTHERWISE = ", and its original does something else otherwise: capture it with an example of that size"


def build(folder: Path, config: CapturedConfig, *, trusted: bool) -> nn.Module:
    """The network of a captured folder, without weights.

    Raises:
        UnsafeFileError: its source may not run.
        ConfigError: the source has no such class.
    """
    path = folder / SOURCE
    source = read_source(path, trusted=trusted)
    module = types.ModuleType(f"captured_{config.root}")
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)  # trusted: `read_source` refuses any other
        root = getattr(module, config.root, None)
        if not (isinstance(root, type) and issubclass(root, nn.Module)):
            raise ConfigError(f"{path} has no class {config.root[:80]!r}; capture the model again")
        return root()
    except (ImportError, AttributeError, TypeError, ValueError, NameError, SyntaxError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise ConfigError(f"{path} does not run here ({reason}); capture the model again") from error
