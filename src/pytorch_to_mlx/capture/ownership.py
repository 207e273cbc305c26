"""Which class makes which module and tensor, and how a scope reaches it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import fx

from pytorch_to_mlx.capture.code import as_code
from pytorch_to_mlx.capture.layers import Layer
from pytorch_to_mlx.capture.names import attribute_name, free_name, is_attribute
from pytorch_to_mlx.capture.state import Program, result_leaves
from pytorch_to_mlx.capture.tree import Call

Held = Call | fx.Node
"""A module, by its first call, or a tensor."""


class Ownership:
    """The modules that have a class of their own, and what each holds.

    A module or tensor belongs to the nearest such module above it in PyTorch's hierarchy; what lies between them
    (lists, modules that are never called) becomes lists and dicts.

    Attributes:
        held: of each class instance, by its path: what it makes, by path, in order of use.
    """

    def __init__(self, root: Call, program: Program, layers: Mapping[Call, Layer]) -> None:
        calls = [root, *root.calls()]
        self._layers = {call.path for call in layers}
        self._classes = {call.path for call in calls if call not in layers} - self._layers
        self._beside: dict[str, set[str]] = {}
        self.held: dict[str, dict[str, Held]] = {path: {} for path in self._classes}
        for call in calls[1:]:
            self.held[self._owner(call.path)].setdefault(call.path, call)
        for call in calls:
            for item in call.items:
                for node in item.all_input_nodes if isinstance(item, fx.Node) else ():
                    name = program.states.get(node)
                    if name is not None:
                        self._hold_state(name, node)
        for leaf in result_leaves(program.results):
            if isinstance(leaf, fx.Node) and leaf in program.states:
                self._hold_state(program.states[leaf], leaf)
        for target in program.mutated:
            for node, name in program.states.items():
                if name == target:
                    self._hold_state(name, node)

    def _hold_state(self, name: str, node: fx.Node) -> None:
        if not any(prefix in self._layers for prefix in _prefixes(name)[1:]):
            self.held[self._owner(name)].setdefault(name, node)

    def _owner(self, path: str) -> str:
        return next(prefix for prefix in reversed(_prefixes(path)) if prefix in self._classes)

    def height(self, path: str) -> int:
        """0 of classes that hold none."""
        inner = [self.height(each) for each in self.held[path] if each in self._classes]
        return 1 + max(inner, default=-1)

    def code(self, scope: str, path: str) -> str:
        """The expression of the module or tensor at `path` in the class of the module at `scope`."""
        text, where = "self", scope
        for part in relative(path, scope) if path != scope else ():
            instance = self._is_instance(where)
            name = self._attribute(where, part)
            if instance and part.isdigit():
                text += f".{self.numbered(where)}[{part}]"
            elif instance and is_attribute(name):
                text += f".{name}"
            elif part.isdigit() and not instance:
                text += f"[{part}]" if self._is_list(where) else f"[{as_code(part).text}]"
            else:
                text += f"[{as_code(name).text}]"
            where = f"{where}.{part}" if where else part
        return text

    def list_code(self, scope: str, path: str) -> str:
        """The expression of the list at `path`: of a module that has a class, of those that it numbers."""
        text = self.code(scope, path)
        return f"{text}.{self.numbered(path)}" if self._is_instance(path) else text

    def listed(self, path: str) -> set[str]:
        """The paths of the modules in the list at `path`, as far as anything uses them."""
        names = {relative(each, path)[0] for each in self._below(path)}
        if self._is_instance(path):
            names = {name for name in names if name.isdigit()}
        return {f"{path}.{name}" if path else name for name in names}

    def numbered(self, path: str) -> str:
        """The attribute of the module at `path` that lists what PyTorch numbers within it."""
        return free_name("layers", {relative(each, path)[0] for each in self._below(path)})

    def parts(self, path: str, scope: str = "") -> list[str]:
        """The attributes and numbers that lead from the module at `scope` to what PyTorch has at `path`."""
        found, where = [], scope
        for part in relative(path, scope):
            if part.isdigit() and self._is_instance(where):
                found.append(self.numbered(where))
            found.append(part if part.isdigit() else self._attribute(where, part))
            where = f"{where}.{part}" if where else part
        return found

    def _attribute(self, where: str, part: str) -> str:
        """The name of an attribute; not that of another one of PyTorch's beside it, as `_scale` and `scale` may be."""
        name = attribute_name(part)
        if name == part:
            return name
        if where not in self._beside:
            self._beside[where] = {relative(each, where)[0] for each in self._below(where)}
        return free_name(name, self._beside[where])

    def _is_instance(self, path: str) -> bool:
        return path in self._classes or path in self._layers

    def _below(self, path: str) -> list[str]:
        prefix = f"{path}." if path else ""
        return [each for held in self.held.values() for each in held if each.startswith(prefix)]

    def _is_list(self, path: str) -> bool:
        """Whether what lies between a class and what it holds is numbered throughout."""
        return all(relative(each, path)[0].isdigit() for each in self._below(path))


def relative(path: str, scope: str) -> list[str]:
    """The parts of a path below `scope`."""
    return (path.removeprefix(f"{scope}.") if scope else path).split(".")


def _prefixes(path: str) -> list[str]:
    """Every path that `path` lies below, from "" on."""
    parts = path.split(".")
    return [".".join(parts[:count]) for count in range(len(parts))]
