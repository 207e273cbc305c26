"""One operator at a time: a function of tensors is traced, written as MLX source, run, and compared with torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import numpy as np
import torch
from torch import fx
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from pytorch_to_mlx.capture.clean import has_effect
from pytorch_to_mlx.capture.decompose import table
from pytorch_to_mlx.capture.generate import generate
from pytorch_to_mlx.capture.state import Program, plain, program_of, result_leaves


def program_of_function(function: Callable[..., Any], args: Sequence[Any]) -> Program:
    """The program of `function(*args)`; every tensor among `args` is an input, all else a constant."""
    leaves, spec = pytree.tree_flatten(list(args))
    places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]

    def flat(*tensors: torch.Tensor) -> Any:
        filled = list(leaves)
        for place, tensor in zip(places, tensors, strict=True):
            filled[place] = tensor
        out, structure = pytree.tree_flatten(function(*pytree.tree_unflatten(filled, spec)))
        structures.append(structure)
        return out

    structures: list[Any] = []
    traced = make_fx(
        flat,
        tracing_mode="fake",
        pre_dispatch=True,
        decomposition_table=table(),
        _allow_non_fake_inputs=True,
    )(*[leaves[place] for place in places])
    graph = traced.graph
    inputs = {node: f"x{k}" for k, node in enumerate(n for n in graph.nodes if n.op == "placeholder")}
    (end,) = [node for node in graph.nodes if node.op == "output"]
    results = pytree.tree_unflatten(list(end.args[0]), structures[-1])
    if any(node.op == "call_function" and has_effect(node) for node in graph.nodes):
        return _program_of_exported(flat, [leaves[place] for place in places], structures[-1])
    states: dict[fx.Node, str] = {}
    tensors: dict[str, torch.Tensor] = {}
    for node in list(graph.nodes):
        if node.op == "get_attr":  # a constant of the function
            value = getattr(traced, node.target)
            with graph.inserting_before(next(iter(graph.nodes))):
                state = graph.placeholder(node.name)
            state.meta["val"] = value
            node.replace_all_uses_with(state)
            graph.erase_node(node)
            states[state], tensors[node.name] = node.name, value
    return Program(graph, states, tensors, inputs, plain(results), {}, owner=traced)


def _program_of_exported(flat: Callable[..., Any], tensors: list[torch.Tensor], structure: Any) -> Program:
    """The program of a function that writes in place, which torch.export makes functional."""

    class Model(torch.nn.Module):
        def forward(self, *tensors: torch.Tensor) -> Any:
            return tuple(flat(*tensors))

    program = program_of(torch.export.export(Model(), tuple(tensors)))
    program.results = plain(pytree.tree_unflatten(result_leaves(program.results), structure))
    return program


def to_mlx(tensor: torch.Tensor) -> mx.array:
    """A tensor as an MLX array; float64 becomes float32, complex128 complex64."""
    plain = tensor.detach().resolve_conj().resolve_neg()
    if plain.dtype == torch.bfloat16:
        return mx.array(plain.float().numpy()).astype(mx.bfloat16)
    narrow = {torch.float64: torch.float32, torch.complex128: torch.complex64}
    return mx.array(plain.to(narrow.get(plain.dtype, plain.dtype)).numpy())


def run(function: Callable[..., Any], args: Sequence[Any]) -> tuple[list[np.ndarray], list[torch.Tensor], str]:
    """MLX's results, torch's, and the source that gave the former."""
    program = program_of_function(function, args)
    made = generate(program, tidy=False)
    names: dict[str, Any] = {}
    exec(compile(made.source, "<operator>", "exec"), names)
    network = names[made.root]()
    stored = {
        new: program.tensors[old].permute(axes) if axes else program.tensors[old]
        for new, (old, axes) in made.tensors.items()
    }
    network.load_weights([(name, to_mlx(value.contiguous())) for name, value in stored.items()], strict=True)
    tensors = [leaf for leaf in pytree.tree_leaves(list(args)) if isinstance(leaf, torch.Tensor)]
    got = result_leaves(result_of(network(*map(to_mlx, tensors))))
    with torch.no_grad():
        want = [leaf for leaf in pytree.tree_leaves(function(*args)) if leaf is not None]
    return got, [leaf if isinstance(leaf, torch.Tensor) else torch.tensor(leaf) for leaf in want], made.source


def assert_same(got: Sequence[np.ndarray], want: Sequence[torch.Tensor], tolerance: float = 1e-5) -> None:
    """Equal shapes, kinds of number, and values within `tolerance` of the largest magnitude; nan and infinities equal.

    Raises:
        AssertionError: they differ.
    """
    assert len(got) == len(want)
    for mine, theirs in zip(got, want, strict=True):
        expected = to_mlx(theirs)
        assert mine.shape == tuple(theirs.shape), f"shape {mine.shape}, torch's {tuple(theirs.shape)}"
        reference = np.array(expected.astype(mx.float32) if expected.dtype == mx.bfloat16 else expected)
        assert mine.dtype == reference.dtype, f"dtype {mine.dtype}, torch's {reference.dtype}"
        if reference.dtype.kind in "biu":
            np.testing.assert_array_equal(mine, reference)
            continue
        finite = np.isfinite(reference)
        np.testing.assert_array_equal(np.isfinite(mine), finite)
        np.testing.assert_array_equal(mine[~finite], reference[~finite])
        largest = np.abs(reference[finite]).max(initial=0.0)
        assert np.abs(mine[finite] - reference[finite]).max(initial=0.0) <= tolerance * max(largest, 1e-30)


def result_of(value: Any) -> Any:
    """An MLX result as numpy arrays in the same structure."""
    if isinstance(value, dict):
        return {key: result_of(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [result_of(each) for each in value]
    return np.array(value) if value is not None else None
