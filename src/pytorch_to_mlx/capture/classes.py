"""One class for each distinct module: instances whose sources differ in numbers alone share it, and pass those."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
from torch import fx

from pytorch_to_mlx.capture.body import Body
from pytorch_to_mlx.capture.code import SLOT, Code, Slots, as_code, call, filled
from pytorch_to_mlx.capture.emitter import DTYPES, written_dtype
from pytorch_to_mlx.capture.names import METHODS, class_name, free_name, is_attribute
from pytorch_to_mlx.capture.ownership import Ownership

WIDTH = 120

Constructor = Callable[[Slots], Code]
Place = tuple[int, int]
"""Which part of an instance (0: `__init__`, then each method), and which number there."""


@dataclass
class Instance:
    """One module: the statements of its `__init__`, and a body for each different call of it."""

    path: str
    kind: str
    attributes: list[str]
    slots: Slots
    bodies: list[Body]

    def skeleton(self) -> tuple:
        """Equal for instances of one class."""
        return tuple(self.attributes), tuple(body.skeleton() for body in self.bodies)

    def numbers(self) -> Iterator[tuple[Place, Any, str]]:
        """Every number that may differ between instances: its place, value and what an argument would be called."""
        for part, slots in enumerate([self.slots, *(body.slots for body in self.bodies)]):
            for place, (value, hint) in enumerate(zip(slots.values, slots.hints, strict=True)):
                yield (part, place), value, hint


@dataclass(eq=False)
class ClassSource:
    """A class of the generated source, written from the first of its instances.

    Attributes:
        parameters: of `__init__`: its name -> the places of the numbers that it stands for.
    """

    name: str
    instances: list[Instance]
    parameters: dict[str, list[Place]] = field(default_factory=dict)

    def constructor(self, instance: Instance, slots: Slots) -> Code:
        """The expression that makes one."""
        values = {place: value for place, value, _ in instance.numbers()}
        return call(self.name, *(slots.add(values[places[0]], name) for name, places in self.parameters.items()))

    def source(self) -> str:
        """Its definition."""
        first = self.instances[0]
        names = {place: name for name, places in self.parameters.items() for place in places}
        lines = [f"class {self.name}(nn.Module):"]
        if first.attributes or self.parameters:
            lines += self._constructor(first, names)
        for part, body in enumerate(first.bodies, 1):
            lines += ["", *self._method(body, part, names)] if len(lines) > 1 else self._method(body, part, names)
        return "\n".join(line.rstrip() for line in lines) + "\n"

    def _constructor(self, first: Instance, names: dict[Place, str]) -> list[str]:
        texts = [names.get((0, place), as_code(value).text) for place, value in enumerate(first.slots.values)]
        called = {
            names[part, int(found)]
            for part, body in enumerate(first.bodies, 1)
            for line in body.lines
            for found in SLOT.findall(line.text)
            if (part, int(found)) in names
        }
        arguments = "".join(f", {name}" for name in self.parameters)
        lines = [f"    def __init__(self{arguments}):", "        super().__init__()"]
        lines += [f"        self.{name} = {name}" for name in sorted(called)]
        return lines + [f"        {filled(attribute, texts)}" for attribute in first.attributes]

    def _method(self, body: Body, part: int, names: dict[Place, str]) -> list[str]:
        texts = [
            f"self.{names[part, place]}" if (part, place) in names else as_code(value).text
            for place, value in enumerate(body.slots.values)
        ]
        taken = "".join(f", {name}" for name in body.arguments)
        lines = [f"    def {method_name(part - 1) or '__call__'}(self{taken}):"]
        others = [instance.bodies[part - 1] for instance in self.instances]
        shapes = [_shared(each) for each in zip(*(other.shapes for other in others), strict=True)]
        told = [f"{name}: {_tuple(shape)}" for name, shape in zip(body.arguments, shapes, strict=True) if shape]
        lines += [f"        # {text}" for text in textwrap.wrap(", ".join(told), WIDTH - 10)]
        for place, line in enumerate(body.lines):
            text = f"        {filled(line.text, texts)}"
            shape = line.shape and _shared([other.lines[place].shape or () for other in others])
            comment = f"  # {_tuple(shape)}" if shape else ""
            lines.append(text + comment if len(text) + len(comment) <= WIDTH else text)
        return lines


class Classes:
    """All classes so far, in the order in which they are needed."""

    def __init__(self) -> None:
        self.found: list[ClassSource] = []

    def add(self, instances: Iterable[Instance]) -> dict[str, ClassSource]:
        """Sort instances of one height into classes; by path of each."""
        groups: dict[tuple, list[Instance]] = {}
        for instance in instances:
            groups.setdefault((instance.kind, instance.skeleton()), []).append(instance)
        where: dict[str, ClassSource] = {}
        for (kind, _), members in groups.items():
            made = ClassSource(self._name(kind), members, _parameters(members))
            self.found.append(made)
            where |= {member.path: made for member in members}
        return where

    def _name(self, kind: str) -> str:
        plain, taken = class_name(kind), {each.name for each in self.found}
        return free_name(plain, taken, separator="")


def method_name(order: int) -> str:
    """Of the body number `order` of a module that is called in several ways; "" for `__call__`."""
    return f"call_{order + 1}" if order else ""


def attributes(scope: str, ownership: Ownership, constructors: dict[str, Constructor], slots: Slots) -> list[str]:
    """The statements of `__init__` that make what the module at `scope` holds."""
    made: dict[str, Any] = {}
    for path, each in ownership.held[scope].items():
        text = constructors[path](slots).text if path in constructors else _zeros(each, slots)
        where = made
        *outer, last = ownership.parts(path, scope)
        for part in outer:
            where = where.setdefault(part, {})
        where[last] = text
    return [f"{_attribute(name)} = {_expression(value, slots)}" for name, value in made.items()]


def _attribute(name: str) -> str:
    return f"self.{name}" if is_attribute(name) else f"self[{as_code(name).text}]"


def _zeros(each: Any, slots: Slots) -> str:
    assert isinstance(each, fx.Node)
    value = each.meta["val"]
    shape = as_code(tuple(slots.add(int(size), "size") for size in value.shape)).text
    dtype = DTYPES[value.dtype]
    return f"mx.zeros({shape})" if dtype == mx.float32 else f"mx.zeros({shape}, {written_dtype(dtype)})"


def _expression(value: Any, slots: Slots) -> str:
    """What stands between a class and what it holds: a list where all is numbered, else a dict."""
    if isinstance(value, str):
        return value
    if not all(key.isdigit() for key in value):
        items = (f"{as_code(key).text}: {_expression(each, slots)}" for key, each in value.items())
        return f"{{{', '.join(items)}}}"
    count = max(map(int, value)) + 1
    texts = [_expression(value[str(k)], slots) if str(k) in value else "nn.Identity()" for k in range(count)]
    plain = {filled(text, [as_code(each).text for each in slots.values]) for text in texts}
    if count > 1 and len(plain) == 1 and len(texts[0]) > 4:
        return f"[{texts[0]} for _ in range({slots.add(count, 'num_layers').text})]"
    return f"[{', '.join(texts)}]"


def _parameters(members: Sequence[Instance]) -> dict[str, list[Place]]:
    """Numbers that are not the same in all instances, by a name for each; equal ones share it."""
    parameters: dict[str, list[Place]] = {}
    named: dict[tuple[str, ...], str] = {}
    taken = {found for each in members[0].attributes for found in re.findall(r"^self\.(\w+) =", each)} | METHODS
    for column in zip(*(member.numbers() for member in members), strict=True):
        place, _, hint = column[0]
        values = tuple(repr(value) for _, value, _ in column)
        if len(set(values)) == 1:
            continue
        if values not in named:
            named[values] = free_name(hint or "size", taken | parameters.keys())
        parameters.setdefault(named[values], []).append(place)
    return parameters


def _tuple(sizes: Sequence[str]) -> str:
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def _shared(shapes: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """Sizes that all instances have; `*` where they differ."""
    listed = list(shapes)
    if len({len(shape) for shape in listed}) != 1:
        return ()
    return tuple(sizes[0] if len(set(sizes)) == 1 else "*" for sizes in zip(*listed, strict=True))
