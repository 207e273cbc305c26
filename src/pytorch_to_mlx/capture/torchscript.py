"""TorchScript as plain modules: each method is read as a graph and carried out in Python, so that torch can export it.

What a branch or loop depends on is decided in the trace where it is a Python value; where it is a tensor, torch says
that it depends on data. Nothing but the graph's own operators is carried out.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from pytorch_to_mlx.capture.script_values import ANY, DTYPES, MEMORY_FORMATS, NUMBERS, PLAIN, holds_tensor
from pytorch_to_mlx.errors import CaptureError

MANGLED = re.compile(r"___torch_mangle_\d+\.")


def module_of_script(script: torch.jit.ScriptModule) -> nn.Module:
    """Modules that do what those of `script` do, each of a class named after the original one; tensors keep names.

    Raises:
        CaptureError: when called, on what only TorchScript's own interpreter can do.
    """
    return _made(script).eval()


class Scripted(nn.Module):
    """One module of TorchScript; its subclasses are made from its type.

    Values assigned to attributes by its methods are seen by what follows, and kept when the outermost call ends.
    """

    _script: torch.jit.ScriptModule
    _assigned: dict[str, Any]
    _plain: dict[str, Any]
    _functions: dict[Any, Any]

    @cached_property
    def _graphs(self) -> dict[str, Any]:
        return {name: self._script._c._get_method(name).graph for name in self._script._c._method_names()}

    def run_method(self, name: str, values: Sequence[Any]) -> Any:
        """What the method returns for arguments in order, without self."""
        graph = self._graphs[name]
        results = _Frame(self._functions).run(graph, [self, *values])
        return results[0] if len(results) == 1 else tuple(results)

    def attribute(self, name: str) -> Any:
        """The value of an attribute."""
        if name in self._assigned:
            return self._assigned[name]
        if name in self._plain:
            return self._plain[name]
        return getattr(self, name)

    def assign(self, name: str, value: Any) -> None:
        """Give an attribute another value."""
        self._assigned[name] = value

    def settle(self) -> None:
        """Keep what was assigned: tensors in place, for a trace to see; where their shape changes only outside one."""
        for module in self.modules():
            if not isinstance(module, Scripted):
                continue
            for name, value in module._assigned.items():
                held = module._buffers.get(name)
                if held is None:
                    if not isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
                        module._plain[name] = value
                elif value is not held and held.shape == value.shape and held.dtype == value.dtype:
                    held.copy_(value)
                elif value is not held:
                    if torch.compiler.is_exporting():
                        raise CaptureError(
                            f"state {name} goes from shape {tuple(held.shape)} to {tuple(value.shape)}: call the "
                            "module once on the example before it is exported"
                        )
                    module._buffers[name] = value.detach().clone()
            module._assigned.clear()


def _made(script: Any) -> Scripted:
    qualified = MANGLED.sub("", script._c._type().qualified_name()).removeprefix("__torch__.")
    place, _, name = qualified.rpartition(".")
    has_forward = script._c._has_method("forward")
    schema = script._c._get_method("forward").schema if has_forward else None
    kind = type(name, (Scripted,), {"forward": _forward(schema), "__module__": place or "script"})
    module = kind()
    object.__setattr__(module, "_script", script)
    module._assigned, module._plain, module._functions = {}, {}, {}
    for key, value in script.named_parameters(recurse=False):
        module.register_parameter(key, value if isinstance(value, nn.Parameter) else nn.Parameter(value, False))
    for key, value in script.named_buffers(recurse=False):
        module.register_buffer(key, value)
    for key, child in script.named_children():
        module.add_module(key, _made(child))
    for key in _attributes(module, script._c._type().qualified_name()):
        if key in module._parameters or key in module._buffers or key in module._modules:
            continue
        value = script._c.getattr(key) if script._c.hasattr(key) else None
        if isinstance(value, torch.Tensor):
            module.register_buffer(key, value.detach().clone())
        else:
            module._plain[key] = value
    return module


def _forward(schema: Any) -> Any:
    """A `forward` with the parameters of TorchScript's."""
    if schema is None:
        return nn.Module.forward
    arguments = schema.arguments[1:]
    empty = inspect.Parameter.empty
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature(
        [inspect.Parameter("self", kind)]
        + [
            inspect.Parameter(_plain_name(a.name), kind, default=a.default_value if a.has_default_value() else empty)
            for a in arguments
        ]
    )
    names = list(signature.parameters)[1:]

    def forward(self: Scripted, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        outermost = not _depth[0]
        _depth[0] += 1
        try:
            result = self.run_method("forward", [bound.arguments[name] for name in names])
            if outermost:
                self.settle()
            return result
        finally:
            _depth[0] -= 1
            if outermost:
                for module in self.modules():
                    if isinstance(module, Scripted):
                        module._assigned.clear()

    forward.__signature__ = signature  # type: ignore[attr-defined]
    return forward


_depth = [0]


def _plain_name(name: str) -> str:
    plain = re.sub(r"\W", "_", name)
    return f"x{plain}" if plain[:1].isdigit() else plain


def _nodes(graph: Any) -> Iterable[Any]:
    for node in graph.nodes():
        yield node
        for block in node.blocks():
            yield from _nodes(block)


def _attributes(module: Scripted, kind: str) -> list[str]:
    """The attributes of its own that its methods read or assign."""
    found = {}
    for graph in module._graphs.values():
        for node in _nodes(graph):
            if node.kind() in ("prim::GetAttr", "prim::SetAttr") and node.inputsAt(0).type().str() == kind:
                found[node.s("name")] = None
    return list(found)


class _Frame:
    """Carries out one graph."""

    def __init__(self, functions: dict[Any, Any]) -> None:
        self._values: dict[str, Any] = {}
        self._functions = functions  # inlined ones, by their node

    def run(self, graph: Any, values: Sequence[Any]) -> list[Any]:
        """The graph's or block's outputs."""
        for value, given in zip(graph.inputs(), values, strict=True):
            self._values[value.debugName()] = given
        self._carry_out(graph)
        return [self._values[value.debugName()] for value in graph.outputs()]

    def _carry_out(self, graph: Any) -> None:
        for node in graph.nodes():
            try:
                results = self._results(node)
            except CaptureError:
                raise
            except Exception as error:
                if not getattr(error, "__notes__", None):
                    error.add_note(f"TorchScript: {node.kind()} at {where(node)}")
                raise
            for value, result in zip(node.outputs(), results, strict=True):
                self._values[value.debugName()] = result

    def _results(self, node: Any) -> Sequence[Any]:
        kind = node.kind()
        special = getattr(self, "_" + kind.removeprefix("prim::"), None) if kind.startswith("prim::") else None
        if special is not None:
            return special(node)
        args = [self._values[value.debugName()] for value in node.inputs()]
        result = _operation(node, kind, args)
        count = node.outputsSize()
        return [] if count == 0 else [result] if count == 1 else list(result)

    def _inputs(self, node: Any) -> list[Any]:
        return [self._values[value.debugName()] for value in node.inputs()]

    def _Constant(self, node: Any) -> Sequence[Any]:  # noqa: N802
        if node.output().type().kind() == "FunctionType":
            return [None]
        return [node.output().toIValue()]

    def _GetAttr(self, node: Any) -> Sequence[Any]:  # noqa: N802
        (owner,) = self._inputs(node)
        name = node.s("name")
        return [owner.attribute(name) if isinstance(owner, Scripted) else getattr(_object(owner, node), name)]

    def _SetAttr(self, node: Any) -> Sequence[Any]:  # noqa: N802
        owner, value = self._inputs(node)
        _object(owner, node).assign(node.s("name"), value)
        return []

    def _CallMethod(self, node: Any) -> Sequence[Any]:  # noqa: N802
        owner, *args = self._inputs(node)
        name = node.s("name")
        result = _object(owner, node)(*args) if name == "forward" else _object(owner, node).run_method(name, args)
        return [result] if node.outputsSize() else []

    def _CallFunction(self, node: Any) -> Sequence[Any]:  # noqa: N802
        key = (node.output().debugName(), where(node))
        if key not in self._functions:
            self._functions[key] = _inlined(node)
        graph, names = self._functions[key]
        return _Frame(self._functions).run(graph, [self._values[name] for name in names])

    def _If(self, node: Any) -> Sequence[Any]:  # noqa: N802
        (condition,) = self._inputs(node)
        block = list(node.blocks())[0 if condition else 1]
        return self.run(block, [])

    def _Loop(self, node: Any) -> Sequence[Any]:  # noqa: N802
        most, more, *carried = self._inputs(node)
        (body,) = node.blocks()
        step = 0
        while more and step < most:
            more, *carried = self.run(body, [step, *carried])
            step += 1
        return carried

    def _TupleUnpack(self, node: Any) -> Sequence[Any]:  # noqa: N802
        return self._inputs(node)[0]

    def _ListUnpack(self, node: Any) -> Sequence[Any]:  # noqa: N802
        return self._inputs(node)[0]

    def _TupleSlice(self, node: Any) -> Sequence[Any]:  # noqa: N802
        return [self._inputs(node)[0][node.i("beg") : node.i("end")]]

    def _RaiseException(self, node: Any) -> Sequence[Any]:  # noqa: N802
        raise CaptureError(f"the module raises {self._inputs(node)[0]!r} at {where(node)}")

    def _isinstance(self, node: Any) -> Sequence[Any]:
        raise CaptureError(f"prim::isinstance of a value of changing type at {where(node)} cannot be captured")

    def _PythonOp(self, node: Any) -> Sequence[Any]:  # noqa: N802
        raise CaptureError(f"Python code within TorchScript at {where(node)} is not carried out")


def _object(owner: Any, node: Any) -> Scripted:
    if not isinstance(owner, Scripted):
        raise CaptureError(f"{node.kind()} of an object that is no module at {where(node)} cannot be captured")
    return owner


def _operation(node: Any, kind: str, args: list[Any]) -> Any:
    """The result of an operator of ATen, or of Python's numbers and containers."""
    if kind in ANY:
        return ANY[kind](*args)
    if kind in PLAIN and not holds_tensor(args) and not (args and _tensors_inside(args[0])):
        return PLAIN[kind](*(args[:2] if kind in ("aten::add", "aten::sub") else args))
    if kind == "aten::tensor" or kind == "aten::as_tensor":
        return torch.tensor(args[0], dtype=_dtype(args[1]) if len(args) > 1 else None)
    if kind == "aten::_convolution":
        return _convolution(*args[:9])
    space, _, name = kind.partition("::")
    if space not in ("aten", "torchaudio", "torchvision", "quantized"):
        raise CaptureError(f"{kind} at {where(node)} cannot be captured")
    schema = node.schema()
    if schema == "(no schema)":
        raise CaptureError(f"{kind} at {where(node)} has no schema, and cannot be captured")
    parsed = torch._C.parse_schema(schema)
    given, named = [], {}
    for argument, value in zip(parsed.arguments, args, strict=True):
        value = _converted(str(argument.real_type), value)
        if argument.kwarg_only:
            named[argument.name] = value
        else:
            given.append(value)
    packet = getattr(getattr(torch.ops, space), name, None)
    if packet is None:
        raise CaptureError(f"{kind} at {where(node)}: torch has no such operator")
    overload = parsed.overload_name or "default"
    tensors = [str(argument.real_type) == "Tensor" for argument in parsed.arguments]
    exact = (
        all(isinstance(value, torch.Tensor) or not tensor for tensor, value in zip(tensors, args, strict=True))
        and overload in packet.overloads()
    )
    call = getattr(packet, overload) if exact else packet
    return call(*given, **named)


def _convolution(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
) -> torch.Tensor:
    """As tracing writes a convolution, whatever it was before; more arguments choose among torch's kernels."""
    rank = weight.ndim - 2
    if transposed:
        function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
        return function(x, weight, bias, stride, padding, output_padding, groups, dilation)
    return (F.conv1d, F.conv2d, F.conv3d)[rank - 1](x, weight, bias, stride, padding, dilation, groups)


def _tensors_inside(value: Any) -> bool:
    return isinstance(value, list | tuple) and holds_tensor(value)


def _converted(kind: str, value: Any) -> Any:
    """TorchScript's number for a dtype, layout or memory format as torch's own object."""
    if isinstance(value, int) and not isinstance(value, bool):
        if "ScalarType" in kind:
            return DTYPES[value]
        if "MemoryFormat" in kind:
            return MEMORY_FORMATS[value]
        if "Layout" in kind:
            return torch.strided
    if isinstance(value, str) and "Device" in kind:
        return torch.device(value)
    return value


def _dtype(value: Any) -> torch.dtype | None:
    return DTYPES[value] if isinstance(value, int) else value


def _inlined(call: Any) -> tuple[Any, list[str]]:
    """The graph of the function that a node calls, and the names of what it is called with."""
    graph: Any = torch._C.Graph()
    function, *values = call.inputs()
    constant = graph.createClone(function.node(), lambda value: value)
    graph.insertNode(constant)
    known = {function.debugName(): constant.output()}
    names = []
    for value in values:
        if value.debugName() not in known:
            known[value.debugName()] = graph.addInput()
            known[value.debugName()].setType(value.type())
            names.append(value.debugName())
    copy = graph.createClone(call, lambda value: known[value.debugName()])
    graph.insertNode(copy)
    for value in copy.outputs():
        graph.registerOutput(value)
    torch._C._jit_pass_inline(graph)
    return graph, names


def where(node: Any) -> str:
    """`file:line` of the original source of a node, and its statement."""
    text = node.sourceRange()
    found = re.search(r'File "([^"]*)", line (\d+)', text)
    marked = re.search(r"^(.*)\n\s*~+ <--- HERE", text, re.MULTILINE)
    statement = f" ({marked[1].strip()})" if marked else ""
    return f"{found[1]}:{found[2]}{statement}" if found else "an unknown line"


__all__ = ["NUMBERS", "Scripted", "module_of_script", "where"]
