"""The source of one module's call: its attributes, and `__call__` as statements a person would write."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

import sympy
import torch
from torch import fx

from pytorch_to_mlx.capture.body import Body, Line, Made, MissingSizeError, local_sizes, result_text, told_sizes
from pytorch_to_mlx.capture.clean import is_size, operator_name
from pytorch_to_mlx.capture.code import Code, Slots, as_code, call, filled, item
from pytorch_to_mlx.capture.emitter import Emitter, Tensor
from pytorch_to_mlx.capture.names import free_name, numbered, variable_name
from pytorch_to_mlx.capture.nothing import of_nothing
from pytorch_to_mlx.capture.operators import LOWERINGS
from pytorch_to_mlx.capture.origin import Origins
from pytorch_to_mlx.capture.ownership import Ownership
from pytorch_to_mlx.capture.sizes import (
    expression,
    local_symbol,
    localised,
    relative_to,
    size_code,
    size_name,
    size_text,
)
from pytorch_to_mlx.capture.state import Program
from pytorch_to_mlx.capture.tree import Call
from pytorch_to_mlx.capture.uses import bound_arguments, last_uses_of, uses_of

INLINE = 72  # characters of an expression that may stand within another


class Scope:
    """Writes one call."""

    def __init__(
        self,
        program: Program,
        origins: Origins,
        call: Call,
        children: dict[Call, Made],
        ownership: Ownership,
        dimensions: dict[sympy.Symbol, str],
        argument_names: Sequence[str],
        early: Sequence[sympy.Expr] = (),
    ) -> None:
        self.program, self.origins, self.call, self.children = program, origins, call, children
        self.ownership, self.dimensions = ownership, dimensions
        self.slots = Slots()
        self.lines: list[Line] = []
        self.values: dict[fx.Node, Code] = {}
        self.parts: dict[fx.Node, tuple[Code, ...]] = {}
        self.holders: dict[str, fx.Node | None] = {}
        self.pending: dict[fx.Node, set[str]] = {}
        self.sizes: dict[sympy.Expr, sympy.Symbol] = {}
        self.told = told_sizes(call)
        self.local = local_sizes(call, dimensions)
        self.items = list(call.items)
        self.ends = call.outputs
        self.uses, self.last = uses_of(self.items, children), last_uses_of(self.items, children)
        for node in (*self.ends, *self._changed()):
            self.uses[node] = self.uses.get(node, 0) + 1
            self.last[node] = len(self.items)
        self.place = -1
        self.arguments = []
        for node, name in zip(call.inputs, argument_names, strict=True):
            self.arguments.append(self._bind(node, name))
        for size in children[call].sizes:
            self.arguments.append(self._size_variable(size))
        for size in early:  # while the arguments whose shapes tell them have their names
            self._resolved(size)

    def _changed(self) -> list[fx.Node]:
        """Of the model: what states and inputs become at its end, and the inputs that are written to."""
        if self.call.parent is not None:
            return []
        mutated = self.program.mutated
        return [*mutated.values(), *(target for target in mutated if isinstance(target, fx.Node))]

    def write(self) -> Body:
        """The source of the call."""
        place = 0
        while place < len(self.items):
            self.place = place
            run = self._loop_at(place)
            if run > 1:
                self._write_loop(place, run)
                place += run
                continue
            each = self.items[place]
            if isinstance(each, Call):
                self._write_call(each)
            else:
                self._write_node(each)
            place += 1
        self.place = place
        if self.call.path == "" and self.call.parent is None:
            self._write_results()
        else:
            self._write_return([self.value(node).text for node in self.ends])
        shapes = [self._shape_text(node.meta["val"].shape) for node in self.call.inputs]
        shapes += [() for _ in self.children[self.call].sizes]
        return Body(self.arguments, self.lines, self.slots, shapes)

    def _write_return(self, values: Sequence[str]) -> None:
        """The end of a call; a variable that is there for its sake alone is left out."""
        last = self.lines[-1] if self.lines else None
        single = len(values) == 1 and values[0].isidentifier()  # several names unpack what may be an array
        if last is not None and single and last.text.startswith(f"{values[0]} = "):
            self.lines[-1] = Line(f"return {last.text.removeprefix(f'{values[0]} = ')}", last.shape)
        else:
            self.lines.append(Line(f"return {', '.join(values)}"))

    # What stands for a node.

    def value(self, node: fx.Node) -> Code:
        """The expression of a node at this place."""
        if node in self.values:
            self.pending.pop(node, None)
            return self.values[node]
        if node in self.program.states:
            return Code(self.ownership.code(self.call.path, self.program.states[node]))
        raise KeyError(f"{node} is not known in {self.call.path or 'the model'}")

    def size(self, value: Any) -> Code:
        """The expression of a size at this place."""
        return size_code(self._resolved(expression(value)), {})

    def _resolved(self, size: sympy.Expr) -> sympy.Expr:
        """A size in terms of those that are variables here; what a shape tells becomes one."""
        if size.is_number or size in self.sizes:
            return self.sizes.get(size, size)
        for node, code in self.values.items():
            value = node.meta.get("val")
            if not isinstance(value, torch.Tensor) or self.holders.get(code.text) is not node:
                continue
            for axis, each in enumerate(value.shape):
                if expression(each) == size:
                    self._read(self._size_variable(size), code.text, axis, value.ndim)
                    return self.sizes[size]
        told = self.told
        if size in told or size.is_Symbol:
            raise MissingSizeError(size)
        for base in (*self.sizes, *told):
            if relative_to(size, base, local_symbol("n")) is not None:
                symbol = self._resolved(base)
                if isinstance(symbol, sympy.Symbol) and (found := relative_to(size, base, symbol)) is not None:
                    return found
        reachable = all(symbol in self.sizes or symbol in told for symbol in size.free_symbols)
        if not reachable and not isinstance(size, sympy.Mul) and self.call.parent is not None:
            raise MissingSizeError(size)
        return size.func(*map(self._resolved, size.args))  # type: ignore[arg-type]

    def _read(self, name: str, array: str, axis: int, ndim: int) -> None:
        """Read a size from a shape; several together are unpacked."""
        found = {axis: name}
        if self.lines and (last := self.lines[-1].read) is not None and last[0] == array:
            found |= last[1]
            self.lines.pop()
        texts = ", ".join(found.get(each, "_") for each in range(ndim))
        text = f"{name} = {array}.shape[{axis}]" if len(found) == 1 else f"{texts} = {array}.shape"
        self.lines.append(Line(text, read=(array, found)))

    def _size_variable(self, size: sympy.Expr) -> str:
        name = self._fresh(str(self.local.get(size, size_name(size, self.dimensions))))
        self.holders[name], self.sizes[size] = None, local_symbol(name)
        return name

    def _shape_text(self, shape: Sequence[Any]) -> tuple[str, ...]:
        names = {symbol: str(symbol) for symbol in self.local.values()}
        return tuple(size_text(localised(expression(size), self.local), names) for size in shape)

    # Statements.

    def _write_node(self, node: fx.Node) -> None:
        if operator_name(node) == "operator.getitem":
            source, index = node.args
            if node in self.values:
                return
            assert isinstance(source, fx.Node) and isinstance(index, int)
            if source in self.parts:
                self._settle(node, self.parts[source][index])
            else:
                self._settle(node, item(self.values[source], str(index)))
            return
        code = self.lower(node)
        value = node.meta.get("val")
        if isinstance(value, tuple | list):
            self._write_several(node, code)
        else:
            self._settle(node, code)

    def _write_several(self, node: fx.Node, code: Any) -> None:
        if isinstance(code, tuple):
            self.parts[node] = code
            return
        wanted = {user.args[1]: user for user in node.users}
        if len(wanted) == 1:
            ((index, user),) = wanted.items()
            self._settle(user, item(code, str(index)))
            return
        self._assign_several([wanted.get(index) for index in range(len(node.meta["val"]))], code, self._targets(node))

    def _assign_several(self, nodes: Sequence[fx.Node | None], code: Code, targets: Sequence[str]) -> None:
        names = []
        for index, node in enumerate(nodes):
            if node is None:
                names.append("_")
                continue
            whole = targets[0] if len(targets) == 1 else self._fallback(node)
            name = targets[index] if len(targets) == len(nodes) else whole
            names.append(self._bind(node, name))
        shape = next((n.meta["val"].shape for n in nodes if n is not None), None)
        self._append(f"{', '.join(names)} = {code.text}", shape)

    def _write_call(self, callee: Call) -> None:
        made = self.children[callee]
        arguments = [self.value(node) for node in made.inputs] + [
            size_code(self._resolved(size), {}) for size in made.sizes
        ]
        function = self.ownership.code(self.call.path, callee.path)
        code = call(f"{function}.{made.method}" if made.method else function, *arguments)
        if made.unpack and len(made.outputs) == 1:
            place = made.unpack.index(made.outputs[0])
            self._settle(made.outputs[0], item(code, str(place)), callee)
        elif made.unpack:
            names, count = self._targets(made.outputs[0]), len(made.unpack)
            self._assign_several(made.unpack, code, names if len(names) == count else ("y", "h", "c")[:count])
        elif len(made.outputs) == 1:
            self._settle(made.outputs[0], code, callee)
        elif made.outputs:
            self._assign_several(made.outputs, code, self._targets(made.outputs[0]))

    def _settle(self, node: fx.Node, code: Code, callee: Call | None = None) -> None:
        """Give a node its expression: within the only other that uses it, or as a variable."""
        targets = self._targets(node)
        short = len(self._plain(code.text)) <= INLINE
        movable = callee is None or not callee.repeated
        if self.uses.get(node, 0) == 1 and len(targets) != 1 and short and movable:
            self.values[node] = code
            self.pending[node] = _names_in(code.text)
            return
        if code.text.isidentifier():
            self.values[node] = code
            self.holders[code.text] = node
            return
        name = targets[0] if len(targets) == 1 else self._fallback(node, callee)
        self._append(f"{self._bind(node, name)} = {code.text}", node.meta["val"].shape)

    def _append(self, text: str, shape: Sequence[Any] | None) -> None:
        self.lines.append(Line(text, self._shape_text(shape) if shape is not None and len(shape) else None))

    def lower(self, node: fx.Node) -> Any:
        """What a lowering makes of a node."""
        name = operator_name(node)
        emitter = Emitter(node, self.slots, self.size)
        if (constant := of_nothing(emitter, node)) is not None:
            return constant
        args, kwargs = bound_arguments(node)
        return LOWERINGS[name](
            emitter, *map(self._argument, args), **{key: self._argument(value) for key, value in kwargs.items()}
        )

    def _argument(self, value: Any) -> Any:
        if isinstance(value, fx.Node):
            if is_size(value):
                found = value.meta["val"]
                static = expression(found)
                return int(static) if static.is_Integer else found
            code = self.value(value)
            described = value.meta.get("val")
            return Tensor(code.text, code.level, described, value) if isinstance(described, torch.Tensor) else code
        if isinstance(value, tuple | list):
            return [self._argument(each) for each in value]
        return value

    # Loops over a list of modules.

    def _loop_at(self, place: int) -> int:
        """How many calls from `place` on are one module after another of a list, each fed by the one before."""
        first = self.items[place]
        path = self._relative(first) if isinstance(first, Call) else []
        if not path or not path[-1].isdigit():
            return 1
        run = 1
        while place + run < len(self.items):
            previous, following = self.items[place + run - 1], self.items[place + run]
            if not isinstance(following, Call) or not self._feeds(previous, following):
                break
            before, after = (self._relative(each) for each in (previous, following))  # type: ignore[arg-type]
            if after[:-1] != path[:-1] or not after[-1].isdigit() or int(after[-1]) <= int(before[-1]):
                break  # numbers that are left out do nothing
            run += 1
        looped = {each.path for each in self.items[place : place + run] if isinstance(each, Call)}
        listed = self.ownership.listed(first.path.rpartition(".")[0])  # type: ignore[union-attr]
        return run if run > 1 and listed == looped else 1

    def _feeds(self, before: Any, after: Call) -> bool:
        a, b = self.children[before], self.children[after]
        if len(a.inputs) != len(b.inputs) or len(a.outputs) != len(b.outputs):
            return False
        if any(each.unpack or each.method for each in (a, b)):
            return False
        if list(a.sizes) != list(b.sizes):
            return False
        carried = [node for node in b.inputs if node in a.outputs]
        if len(carried) != len(a.outputs) or carried != list(a.outputs):
            return False
        if any(self.uses.get(node, 0) != 1 for node in a.outputs):
            return False
        return all(x is y or y in a.outputs for x, y in zip(a.inputs, b.inputs, strict=True))

    def _write_loop(self, place: int, run: int) -> None:
        calls = [each for each in self.items[place : place + run] if isinstance(each, Call)]
        first, second, end = (self.children[calls[i]] for i in (0, 1, -1))
        fed = [index for index, node in enumerate(second.inputs) if node in first.outputs]
        arguments = [self.value(node).text for node in first.inputs]
        arguments += [size_code(self._resolved(size), {}).text for size in first.sizes]
        targets = self._targets(end.outputs[0])
        names = []
        for order, index in enumerate(fed):
            name = targets[order] if len(targets) == len(fed) else ""
            start = arguments[index]
            if not name:
                name = start if start.isidentifier() else self._fallback(end.outputs[order])
            self.place = place + run - 1
            holder = self.holders.get(name)
            until = -1 if holder is None else self.last.get(holder, -1)
            alive = holder is not first.inputs[index] and until >= place
            kept = holder is first.inputs[index] and until >= place + run
            if name in names or alive or kept or (name in self.holders and holder is None) or self._is_pending(name):
                name = self._fresh(name)
            if start != name:
                self._append(f"{name} = {start}", None)
            names.append(name)
            arguments[index] = name
        layer = self._fresh("layer")
        listed = self.ownership.list_code(self.call.path, calls[0].path.rpartition(".")[0])
        self.lines.append(Line(f"for {layer} in {listed}:"))
        shape = end.outputs[0].meta["val"].shape
        self._append(f"    {', '.join(names)} = {layer}({', '.join(arguments)})", shape)
        for name, node in zip(names, end.outputs, strict=True):
            self.holders[name] = node
            self.values[node] = Code(name)

    # Names.

    def _targets(self, node: fx.Node) -> tuple[str, ...]:
        """The names that the original source gives the value of the item at this place."""
        statement = self.origins.statement(node, self.call.path)
        if statement is None or not statement.targets:
            return ()
        for other in self.items[self.place + 1 :]:
            if isinstance(other, fx.Node) and operator_name(other) == "operator.getitem" and other.args[0] is node:
                continue
            following = self.origins.statement(_final(other), self.call.path)
            if following is None or following == statement:
                return () if following == statement else statement.targets
            break
        return statement.targets

    def _fallback(self, node: fx.Node, callee: Call | None = None) -> str:
        if callee is not None:
            return next((part for part in reversed(self._relative(callee)) if not part.isdigit()), "x")
        if operator_name(node) == "operator.getitem":
            return "part"
        return getattr(node.target, "__name__", "x").partition(".")[0] if node.op == "call_function" else "x"

    def _bind(self, node: fx.Node, name: str) -> str:
        name = next(each for each in numbered(variable_name(name)) if not self._taken(each))
        self.holders[name] = node
        self.values[node] = Code(name)
        return name

    def _taken(self, name: str) -> bool:
        """Whether somebody still needs what the variable holds."""
        holder = self.holders.get(name)
        in_use = name in self.holders and (holder is None or self.last.get(holder, -1) > self.place)
        return in_use or self._is_pending(name)

    def _is_pending(self, name: str) -> bool:
        """Whether an expression that is still to be written names the variable."""
        return any(name in names for names in self.pending.values())

    def _fresh(self, name: str) -> str:
        return free_name(variable_name(name), self.holders)

    def _relative(self, callee: Call) -> list[str]:
        inside = callee.path.removeprefix(f"{self.call.path}." if self.call.path else "")
        return inside.split(".")

    def _plain(self, text: str) -> str:
        return filled(text, [as_code(value).text for value in self.slots.values])

    # The ends of the source.

    def _write_results(self) -> None:
        """The end of the model: results first, since they may have been computed from states that change."""
        result = result_text(self.program.results, self._result, top=True)
        if not self.program.mutated:
            self._write_return([result])
            return
        name = self._fresh("result")
        self.lines.append(Line(f"{name} = {result}"))
        targets, values = [], []
        for target, node in self.program.mutated.items():
            state = isinstance(target, str)
            targets.append(self.ownership.code("", target) if state else f"{self.values[target].text}[...]")
            values.append(self.value(node).text)
        self.lines.append(Line(f"{', '.join(targets)} = {', '.join(values)}"))
        self.lines.append(Line(f"return {name}"))

    def _result(self, leaf: Any) -> str:
        if not isinstance(leaf, fx.Node):
            return as_code(leaf).text
        return self.size(leaf.meta["val"]).text if is_size(leaf) else self.value(leaf).text


def _final(each: fx.Node | Call) -> fx.Node:
    return each if isinstance(each, fx.Node) else list(each.nodes())[-1]


def _names_in(text: str) -> set[str]:
    plain = filled(text, ["0"] * 10_000)
    return {each.id for each in ast.walk(ast.parse(plain, mode="eval")) if isinstance(each, ast.Name)}
