"""From a program to the source of `model.py` and the tensors of `model.safetensors`."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import sympy
import torch
from torch import fx

from pytorch_to_mlx.capture import recurrent_layers, spatial_layers  # noqa: F401  (they register their layers)
from pytorch_to_mlx.capture.body import Body, Made, MissingSizeError
from pytorch_to_mlx.capture.classes import WIDTH, Classes, Constructor, Instance, attributes, method_name
from pytorch_to_mlx.capture.clean import clean, is_size, operator_name
from pytorch_to_mlx.capture.code import Slots
from pytorch_to_mlx.capture.fold import fold_weights
from pytorch_to_mlx.capture.fuse import fuse
from pytorch_to_mlx.capture.layers import layer_of
from pytorch_to_mlx.capture.layout import channels_last
from pytorch_to_mlx.capture.names import class_name, free_name, variable_name
from pytorch_to_mlx.capture.observe import ModuleCall
from pytorch_to_mlx.capture.once import compute_once
from pytorch_to_mlx.capture.operators import INEXPRESSIBLE, LOWERINGS
from pytorch_to_mlx.capture.operators.indexing import NO_STATIC_SHAPE, takes_mask
from pytorch_to_mlx.capture.origin import Origins
from pytorch_to_mlx.capture.ownership import Ownership
from pytorch_to_mlx.capture.rotary import fuse_rotary
from pytorch_to_mlx.capture.scope import Scope
from pytorch_to_mlx.capture.simplify import simplify
from pytorch_to_mlx.capture.sizes import dimension_names, expression
from pytorch_to_mlx.capture.state import Program
from pytorch_to_mlx.capture.tree import Call, build_tree, dissolve, find_ends
from pytorch_to_mlx.errors import CaptureError, MissingDependencyError


@dataclass(frozen=True)
class Generated:
    """What generation makes.

    Attributes:
        source: of model.py.
        root: name of the model's class, and the arguments of its constructor.
        tensors: MLX's name -> (PyTorch's name, order of axes or None).
        unused: tensors of PyTorch's that nothing reads.
        taps: what modules' calls return, where PyTorch's return that too.
        states: parameters of ours that a call changes, and the names of their tensors in PyTorch.
    """

    source: str
    root: str
    tensors: dict[str, tuple[str, tuple[int, ...] | None]]
    unused: tuple[str, ...]
    taps: tuple[Tap, ...]
    states: dict[str, str]


@dataclass(frozen=True)
class Tap:
    """A value that a call of a module returns, here and in PyTorch.

    Attributes:
        path: of the PyTorch module.
        module: the path of ours.
        call, result: which of the module's calls, and which of the arrays that it returns.
        upstream_call, upstream_result: the same of the PyTorch module, whose calls and results may be more.
    """

    path: str
    module: str
    call: int
    result: int
    upstream_call: int
    upstream_result: int

    @property
    def name(self) -> str:
        """The path, with what else it takes to tell it from the module's other taps."""
        call, result = (f"@{self.call}" if self.call else ""), (f"[{self.result}]" if self.result else "")
        return f"{self.path}{call}{result}"


@dataclass(frozen=True)
class Unsupported:
    """An operator without a lowering.

    Attributes:
        primitive: what MLX lacks for it; "" where nobody has written one yet.
        lines: where it stands in the original source.
    """

    operator: str
    count: int
    primitive: str
    lines: tuple[str, ...]


def unsupported(program: Program, origins: Origins) -> list[Unsupported]:
    """Every operator that cannot be lowered, with where it stands."""
    found: dict[str, list[fx.Node]] = {}
    for node in program.graph.nodes:
        name = operator_name(node) if node.op == "call_function" else ""
        counts = name not in LOWERINGS and name not in ("", "operator.getitem")
        if (counts and (name in INEXPRESSIBLE or not is_size(node))) or takes_mask(node):
            found.setdefault(name, []).append(node)
    return [
        Unsupported(
            name,
            len(nodes),
            INEXPRESSIBLE.get(name, NO_STATIC_SHAPE if takes_mask(nodes[0]) else ""),
            tuple(dict.fromkeys(filter(None, map(origins.line, nodes)))),
        )
        for name, nodes in found.items()
    ]


def prepared(program: Program) -> None:
    """Bring the graph into the form that is written: tidy, weights computed once, channels last."""
    clean(program.graph)
    simplify(program)
    fuse(program)
    fuse_rotary(program)
    clean(program.graph)
    fold_weights(program)
    channels_last(program)
    clean(program.graph)
    program.settle()


def generate(program: Program, tidy: bool = True) -> Generated:
    """Write the source; `tidy` has ruff format it.

    Raises:
        CaptureError: operators have no lowering; all of them are named.
    """
    prepared(program)
    origins = Origins(program.module)
    if lacking := unsupported(program, origins):
        told = "; ".join(
            f"{each.operator} ({each.primitive or 'not yet'}){' at ' + each.lines[0] if each.lines else ''}"
            for each in lacking
        )
        raise CaptureError(f"MLX has no form of {told}")
    compute_once(program, origins)
    root = build_tree(program, origins.frames)
    dissolve(root, lambda call: origins.is_sequence(call.path, call.kind) or _is_trivial(program, call))
    find_ends(root, program)
    return _Writer(program, origins, root, tidy).write()


class _Writer:
    def __init__(self, program: Program, origins: Origins, root: Call, tidy: bool) -> None:
        self.program, self.origins, self.root, self.tidy = program, origins, root, tidy
        self.calls = [root, *root.calls()]
        found = {each: layer_of(program, each) for each in self.calls[1:]}
        self.layers = {each: layer for each, layer in found.items() if layer is not None}
        self.layers = {each: layer for each, layer in self.layers.items() if self._always_layer(each)}
        for each, layer in self.layers.items():
            self._give_constants_away(each, layer.inputs)
        self.ownership = Ownership(root, program, self.layers)
        self.classes = Classes()
        self.observed: dict[str, list[ModuleCall]] = {}
        for call in program.observed:
            self.observed.setdefault(call.path, []).append(call)
        self.children: dict[Call, Made] = {}
        self.constructors: dict[str, Constructor] = {}
        self.dimensions = dimension_names([node.meta["val"] for node in program.inputs if _is_tensor(node)])

    def _always_layer(self, each: Call) -> bool:
        """Whether all calls of the module are that layer, and nothing is called within it."""
        same = [other for other in self.calls if other.path == each.path]
        inside = any(other.path.startswith(f"{each.path}.") for other in self.calls)
        return all(other in self.layers for other in same) and not inside

    def _give_constants_away(self, each: Call, inputs: Sequence[fx.Node]) -> None:
        """Tensors that a layer is called with belong to whoever calls it, though torch counts them among its own."""
        program = self.program
        for node in inputs:
            name = program.states.get(node, "")
            if not name.startswith(f"{each.path}."):
                continue
            moved = f"{each.path.rpartition('.')[0]}.{name.rpartition('.')[2]}".removeprefix(".")
            moved = free_name(moved, program.tensors)
            program.states[node], program.tensors[moved] = moved, program.tensors.pop(name)

    def write(self) -> Generated:
        for each in self.calls:
            layer = self.layers.get(each)
            if layer is None:
                self.children[each] = Made(each.inputs, each.outputs)
            else:
                self.children[each] = Made(layer.inputs, layer.outputs, layer.unpack)
                self.constructors.setdefault(each.path, layer.constructor)
        bodies = self._bodies()
        by_height: dict[int, list[str]] = {}
        for path in bodies:
            by_height.setdefault(self.ownership.height(path), []).append(path)
        for height in sorted(by_height):
            self._write_classes({path: bodies[path] for path in by_height[height]})
        tensors = {
            ".".join(self.ownership.parts(name)): (name, self.program.layouts.get(name))
            for node, name in self.program.states.items()
            if any(not is_size(user) for user in node.users)
        }
        names = {name for name, _ in tensors.values()}
        unused = tuple(name for name in self.program.tensors if name not in names)
        changed = [target for target in self.program.mutated if isinstance(target, str)]
        states = {".".join(self.ownership.parts(target)): target for target in changed}
        return Generated(self._file(), self.classes.found[-1].name, tensors, unused, tuple(self._taps()), states)

    def _taps(self) -> Iterator[Tap]:
        counts: dict[str, int] = {}
        for each in self.calls[1:]:
            place = counts[each.path] = counts.get(each.path, -1) + 1
            made = self.children[each]
            for result, node in enumerate(made.unpack or made.outputs):
                for upstream, observed in self._observed(each):
                    found = observed.result(node.meta.get("print")) if node is not None else None
                    if found is not None:
                        yield Tap(each.path, ".".join(self.ownership.parts(each.path)), place, result, upstream, found)
                        break

    def _observed(self, each: Call) -> list[tuple[int, ModuleCall]]:
        """The calls of its module in eager mode with their numbers, that of the same number first."""
        number = [other for other in self.calls if other.path == each.path].index(each)
        found = list(enumerate(self.observed.get(each.path, ())))
        return found[number : number + 1] + found[:number] + found[number + 1 :]

    def _bodies(self) -> dict[str, list[Body]]:
        """Of each module that is no layer, the different bodies of its calls; calls learn which is theirs.

        Inner calls come first, since a caller needs the name of the method.
        """
        found: dict[str, list[Body]] = {}
        for each in sorted(self.calls, key=lambda call: call.height):
            if each in self.layers:
                continue
            body = self._body(each)
            known = found.setdefault(each.path, [])
            same = [k for k, k_body in enumerate(known) if _equal(k_body, body)]
            if not same:
                known.append(body)
            self.children[each].method = method_name(same[0] if same else len(known) - 1)
        return found

    def _write_classes(self, bodies: dict[str, list[Body]]) -> None:
        kinds = {each.path: each.kind for each in reversed(self.calls)}
        instances = []
        for path, each in bodies.items():
            slots = Slots()
            lines = attributes(path, self.ownership, self.constructors, slots)
            instances.append(Instance(path, kinds[path], lines, slots, each))
        where = self.classes.add(instances)
        for instance in instances:
            made = where[instance.path]
            self.constructors[instance.path] = partial(made.constructor, instance)

    def _body(self, each: Call) -> Body:
        """The source of a call: sizes that are needed late are named early, or given as arguments."""
        early: list[sympy.Expr] = []
        names, dimensions = self._arguments(each), self._dimensions(each)
        while True:
            try:
                scope = Scope(self.program, self.origins, each, self.children, self.ownership, dimensions, names, early)
                return scope.write()
            except MissingSizeError as error:
                known = any(
                    expression(size) == error.size
                    for node in each.inputs
                    if _is_tensor(node)
                    for size in node.meta["val"].shape
                )
                made = self.children[each]
                if known and error.size not in early:
                    early.append(error.size)
                elif each is not self.root and error.size not in made.sizes:
                    made.sizes = (*made.sizes, error.size)
                else:
                    raise CaptureError(f"size {error.size} follows from no input's shape; pass it as one") from error

    def _dimensions(self, each: Call) -> dict[sympy.Symbol, str]:
        """What sizes are called within a call: numbered by its own inputs, so that equal modules read the same."""
        if each is self.root:
            return self.dimensions
        sizes = [size for node in each.inputs if _is_tensor(node) for size in node.meta["val"].shape]
        symbols: list[Any] = [symbol for size in sizes for symbol in sorted(expression(size).free_symbols, key=str)]
        names: dict[sympy.Symbol, str] = {}
        for symbol in dict.fromkeys([*symbols, *self.dimensions]):
            if symbol in self.dimensions:
                plain = re.sub(r"_\d+$", "", self.dimensions[symbol])
                names[symbol] = free_name(plain, set(names.values()))
        return names

    def _arguments(self, each: Call) -> list[str]:
        if each is self.root:
            return list(self.program.inputs.values())
        states = [node in self.program.states for node in each.inputs]
        known = self.origins.parameters(each.path)
        taken = len(states) - sum(states)
        plain = iter(known[:taken] if 0 < taken <= len(known) and taken in (1, len(known)) else _letters(taken))
        names: list[str] = []
        for node, state in zip(each.inputs, states, strict=True):
            name = self.program.states[node].rpartition(".")[2] if state else next(plain)
            if not state and (observed := self._observed(each)):
                given = (call.argument(node.meta.get("print")) for _, call in observed)
                name = next(filter(None, given), None) or self._absent(node, observed[0][1], names)
            names.append(free_name(variable_name(name), names))
        return names

    def _absent(self, node: fx.Node, observed: ModuleCall, taken: list[str]) -> str:
        """The name of an argument that eager mode does without: an input's own, or that of a mask, if there is one."""
        free = [name for name in observed.absent if name not in taken]
        own = self.program.inputs.get(node)
        return own if own in free else next((name for name in free if "mask" in name), next(iter(free), "x"))

    def _file(self) -> str:
        body = "\n\n".join(each.source() for each in self.classes.found)
        runtime = "from pytorch_to_mlx import runtime\n" if "runtime." in body else ""
        head = f'"""{class_name(self.root.kind)}, captured from PyTorch by pytorch-to-mlx."""\n\n'
        imports = f"import mlx.core as mx\nimport mlx.nn as nn\n{chr(10) + runtime if runtime else ''}"
        source = f"{head}{imports}\n\n{body}"
        return formatted(source) if self.tidy else source


def _is_trivial(program: Program, call: Call) -> bool:
    """Whether a call is one operator on what it is given, and no layer."""
    if len(call.items) != 1 or isinstance(call.items[0], Call) or layer_of(program, call) is not None:
        return False
    states = [program.states[node] for node in call.items[0].all_input_nodes if node in program.states]
    return not any(name.startswith(f"{call.path}.") for name in states)


def _equal(a: Body, b: Body) -> bool:
    return a.skeleton() == b.skeleton() and list(map(repr, a.slots.values)) == list(map(repr, b.slots.values))


def _letters(count: int) -> list[str]:
    return ["x", "y", "z"][:count] if count <= 3 else [f"x{place}" for place in range(1, count + 1)]


def _is_tensor(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), torch.Tensor)


def formatted(source: str) -> str:
    """The source as ruff formats it."""
    command = [_ruff(), "format", "--isolated", "--line-length", str(WIDTH), "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CaptureError(f"the generated source is no Python ({done.stderr.strip().splitlines()[:1]}); report this")
    return done.stdout


def _ruff() -> str:
    try:
        from ruff.__main__ import find_ruff_bin

        return find_ruff_bin()
    except (ImportError, FileNotFoundError):
        if found := shutil.which("ruff"):
            return found
        told = "generated source is formatted with ruff: pip install 'pytorch-to-mlx[capture]'"
        raise MissingDependencyError(told) from None
