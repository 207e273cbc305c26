"""Rotary embeddings, in whichever way a model writes them, as `mx.fast.rope`.

A part of the graph that turns one value by tables of cosines and sines is compared with the formula on numbers drawn at
random, at two lengths; only one that gives the same is replaced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import sympy
import torch
from torch import fx

from pytorch_to_mlx.capture.clean import is_size, operator_name, same_shape
from pytorch_to_mlx.capture.code import Code, call
from pytorch_to_mlx.capture.emitter import Emitter, Tensor
from pytorch_to_mlx.capture.operators.registry import lowers
from pytorch_to_mlx.capture.sizes import expression
from pytorch_to_mlx.capture.state import Program

LENGTHS = (11, 29)
REGION = 24  # nodes that a rotation may consist of
SAME = 1e-5
ANGLES = {"aten.cos.default": 0, "aten.sin.default": 0, "aten.polar.default": 1}
"""Which argument is an angle."""
ENDS = {"aten.add.Tensor", "aten.cat.default", "aten.view.default", "aten.reshape.default", "aten.flatten.using_ints"}
"""What a rotation may end with."""


def rope(x: torch.Tensor, dims: int, traditional: bool, base: float, offset: int) -> torch.Tensor:
    """What `mx.fast.rope` computes: the first `dims` of the last axis, turned by the place along the one before."""
    half = dims // 2
    frequencies = base ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = (offset + torch.arange(x.shape[-2], dtype=torch.float64))[:, None] * frequencies
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    turned, rest = x[..., :dims], x[..., dims:]
    a, b = (turned[..., ::2], turned[..., 1::2]) if traditional else (turned[..., :half], turned[..., half:])
    parts = (a * cos - b * sin, b * cos + a * sin)
    made = torch.stack(parts, -1).flatten(-2) if traditional else torch.cat(parts, -1)
    return torch.cat((made, rest), -1)


@lowers(f"{rope.__module__}.{rope.__name__}")
def lower_rope(e: Emitter, x: Tensor, dims: int, traditional: bool, base: float, offset: int) -> Code:
    numbers = {"base": e.literal(base, "base"), "scale": 1.0, "offset": offset}
    return call("mx.fast.rope", x, e.size(dims, "dims"), traditional=traditional, **numbers)


def fuse_rotary(program: Program) -> None:
    """Replace rotations; tables that nobody uses any more are left to `clean`."""
    if not any(operator_name(node) in ANGLES for node in program.graph.nodes if node.op == "call_function"):
        return
    given = _given(program)
    for node in list(program.graph.nodes):
        if node.op != "call_function" or operator_name(node) not in ENDS or node not in given:
            continue
        for x, tables in _regions(node, given):
            found = _rotation(program, node, x, tables)
            if found is not None:
                with program.graph.inserting_before(node):
                    made = program.graph.call_function(rope, (x, *found))
                made.meta = dict(node.meta)
                node.replace_all_uses_with(made)
                given.add(made)
                break


def _given(program: Program) -> set[fx.Node]:
    """Nodes whose values depend on those of inputs, or of states that calls change."""
    found = {*program.inputs, *(node for node, name in program.states.items() if name in program.mutated)}
    for node in program.graph.nodes:
        if node.op == "call_function" and not is_size(node) and any(each in found for each in node.all_input_nodes):
            found.add(node)
    return found


def _regions(node: fx.Node, given: set[fx.Node]) -> Iterator[tuple[fx.Node, list[fx.Node]]]:
    """Each value of `node`'s shape that alone, with tables, leads to it; and those tables."""
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor) or value.ndim < 3 or not value.is_floating_point():
        return
    frontier, tables = {node}, []
    for _ in range(REGION):
        latest = max(frontier)
        if latest.op != "call_function":
            return
        frontier.discard(latest)
        for source in latest.all_input_nodes:
            if source in given:
                frontier.add(source)
            elif not is_size(source):
                tables.append(source)
        if len(frontier) == 1 and tables:
            (x,) = frontier
            before = x.meta.get("val")
            alike = isinstance(before, torch.Tensor) and before.dtype == value.dtype
            if alike and same_shape(before.shape, value.shape):  # type: ignore[union-attr]
                yield x, tables
                return


def _rotation(
    program: Program, node: fx.Node, x: fx.Node, tables: list[fx.Node]
) -> tuple[int, bool, float, int] | None:
    """Dimensions, whether neighbours are pairs, base and offset of the rotation that leads from `x` to `node`."""
    for angles in _angles(tables):
        described = _described(_value(program, angles, {}, LENGTHS[0]))
        if described is None:
            continue
        dims, base, offset = described
        for traditional in (False, True):
            settings = (dims, traditional, base, offset)
            if all(_same(program, node, x, settings, length) for length in LENGTHS):
                return settings
    return None


def _angles(tables: list[fx.Node]) -> list[fx.Node]:
    """What cosines and sines are taken of."""
    found: dict[fx.Node, None] = {}
    waiting, seen = list(tables), set(tables)
    while waiting:
        node = waiting.pop()
        place = ANGLES.get(operator_name(node)) if node.op == "call_function" else None
        if place is not None and isinstance(angle := node.args[place], fx.Node):
            found[angle] = None
            continue
        for source in node.all_input_nodes:
            if source not in seen:
                seen.add(source)
                waiting.append(source)
    return list(found)


def _described(angles: torch.Tensor | None) -> tuple[int, float, int] | None:
    """Dimensions, base and offset of angles offset f, (offset + 1) f and so on, with f = base^(-2 i / dimensions)."""
    if angles is None:
        return None
    table = angles.squeeze().double()
    while table.ndim > 2:
        table = table[0]
    if table.ndim != 2 or len(table) < 3:
        return None
    steps = torch.unique((table[2] - table[0]) / 2).flip(0)
    half = len(steps)
    if half < 2 or float(steps[-1]) <= 0 or abs(float(steps[0]) - 1) > SAME:
        return None
    base = float(steps[-1]) ** (-half / (half - 1))
    rounded = float(f"{base:.4g}")
    base = rounded if abs(base - rounded) < 1e-4 * base else base
    wanted = base ** (-torch.arange(half, dtype=torch.float64) / half)
    if not torch.allclose(steps, wanted, rtol=SAME, atol=0):
        return None
    return 2 * half, base, round(float(table[0].max()))


def _same(program: Program, node: fx.Node, x: fx.Node, settings: tuple[int, bool, float, int], length: int) -> bool:
    """Whether the graph gives what the formula gives, of numbers drawn at random."""
    shape = [_number(size, length) for size in x.meta["val"].shape]
    if any(size is None for size in shape) or settings[0] > shape[-1]:
        return False
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(length))
    found = _value(program, node, {x: drawn.to(x.meta["val"].dtype)}, length)
    if found is None or found.shape != drawn.shape:
        return False
    wanted = rope(drawn, *settings)
    return bool((found.float() - wanted).abs().max() <= SAME * wanted.abs().max())


def _value(program: Program, node: fx.Node, known: Mapping[fx.Node, torch.Tensor], length: int) -> torch.Tensor | None:
    """A node's value where every dynamic size is `length`; None where it cannot be told."""
    values: dict[fx.Node, Any] = dict(known)

    def of(each: fx.Node) -> Any:
        if each not in values:
            if is_size(each):
                values[each] = _number(each.meta["val"], length)
            elif each in program.states:
                values[each] = program.tensors[program.states[each]]
            elif each.op != "call_function":
                raise ValueError(each)
            else:
                args, kwargs = fx.map_arg(each.args, of), fx.map_arg(each.kwargs, of)
                target: Any = each.target
                values[each] = target(*args, **kwargs)  # type: ignore[misc]
        return values[each]

    try:
        with torch.no_grad():
            return of(node)
    except (ValueError, RuntimeError, TypeError, IndexError):
        return None


def _number(size: Any, length: int) -> Any:
    expr = expression(size)
    found = expr.xreplace({symbol: sympy.Integer(length) for symbol in expr.free_symbols})
    return int(found) if isinstance(found, sympy.Integer) else None
