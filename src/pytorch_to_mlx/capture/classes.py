"""One class for each distinct module: instances whose sources differ in numbers alone share it, and pass those."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pytorch_to_mlx.capture.code import SLOT, Code, Slots, as_code, call, filled
from pytorch_to_mlx.capture.names import class_name
from pytorch_to_mlx.capture.scope import Instance

WIDTH = 120


@dataclass(eq=False)
class ClassSource:
    """A class of the generated source.

    Attributes:
        parameters: of `__init__`: its name -> the places of the numbers that it stands for.
        instances: the calls that it serves, the first of them being what it is written from.
    """

    name: str
    kind: str
    instances: list[Instance]
    parameters: dict[str, list[int]] = field(default_factory=dict)

    def constructor(self, instance: Instance, slots: Slots) -> Code:
        """The expression that makes one."""
        values = [slots.add(instance.slots.values[places[0]], name) for name, places in self.parameters.items()]
        return call(self.name, *values)

    def source(self) -> str:
        """Its definition."""
        first = self.instances[0]
        names = {place: name for name, places in self.parameters.items() for place in places}
        used = {name for name, places in self.parameters.items() if self._in_body(places)}
        plain = [as_code(value).text for value in first.slots.values]
        made = [names.get(place, text) for place, text in enumerate(plain)]
        called = [f"self.{names[place]}" if place in names else text for place, text in enumerate(plain)]
        arguments = "".join(f", {name}" for name in self.parameters)
        lines = [f"class {self.name}(nn.Module):", f"    def __init__(self{arguments}):", "        super().__init__()"]
        lines += [f"        self.{name} = {name}" for name in sorted(used)]
        for attribute in first.attributes:
            lines.append(f"        {filled(attribute, made)}")
        taken = "".join(f", {name}" for name in first.arguments)
        lines += ["", f"    def __call__(self{taken}):"]
        shapes = [_shared(each) for each in zip(*(i.shapes for i in self.instances), strict=True)]
        told = [f"{name}: ({', '.join(s)})" for name, s in zip(first.arguments, shapes, strict=True) if s]
        lines += [f"        # {text}" for text in textwrap.wrap(", ".join(told), WIDTH - 10)]
        for place, line in enumerate(first.lines):
            text = "        " + filled(line.text, called)
            shape = line.shape and _shared([i.lines[place].shape or () for i in self.instances])
            comment = f"  # ({', '.join(shape)}{',' if len(shape) == 1 else ''})" if shape else ""
            lines.append(text + comment if len(text) + len(comment) <= WIDTH else text)
        return "\n".join(line.rstrip() for line in lines) + "\n"

    def _in_body(self, places: list[int]) -> bool:
        within = {int(found) for line in self.instances[0].lines for found in SLOT.findall(line.text)}
        return any(place in within for place in places)


class Classes:
    """All classes so far, in the order in which they are needed."""

    def __init__(self) -> None:
        self.found: list[ClassSource] = []

    def add(self, instances: Iterable[Instance]) -> dict[int, ClassSource]:
        """Sort instances of one height into classes; by `id` of each."""
        groups: dict[tuple, list[Instance]] = {}
        for instance in instances:
            groups.setdefault((instance.call.kind, instance.skeleton()), []).append(instance)
        where: dict[int, ClassSource] = {}
        for (kind, _), members in groups.items():
            made = ClassSource(self._name(kind), kind, members)
            made.parameters = _parameters(members)
            self.found.append(made)
            where |= {id(member): made for member in members}
        return where

    def _name(self, kind: str) -> str:
        plain, taken = class_name(kind), {each.name for each in self.found}
        return next(n for n in (plain, *(f"{plain}{k}" for k in range(2, 10**6))) if n not in taken)


def _parameters(members: list[Instance]) -> dict[str, list[int]]:
    """Numbers that are not the same in all instances, by a name for each; equal ones share it."""
    columns = list(zip(*(member.slots.values for member in members), strict=True))
    hints = members[0].slots.hints
    parameters: dict[str, list[int]] = {}
    named: dict[tuple[Any, ...], str] = {}
    for place, column in enumerate(columns):
        if len(set(map(repr, column))) == 1:
            continue
        key = tuple(map(repr, column))
        if key not in named:
            hint = hints[place] or "size"
            named[key] = next(n for n in (hint, *(f"{hint}_{k}" for k in range(2, 10**6))) if n not in parameters)
        parameters.setdefault(named[key], []).append(place)
    return parameters


def _shared(shapes: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """Sizes that all instances have; `*` where they differ."""
    listed = list(shapes)
    if len({len(shape) for shape in listed}) != 1:
        return ()
    return tuple(sizes[0] if len(set(sizes)) == 1 else "*" for sizes in zip(*listed, strict=True))
