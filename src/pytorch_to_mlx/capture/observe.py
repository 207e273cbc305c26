"""What each module is given and gives in eager mode, and which nodes of the graph hold the same values."""

from __future__ import annotations

import inspect
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from pytorch_to_mlx.capture.state import Program

CLOSE = 1e-4
"""Of the largest magnitude: two computations of one value are nearer, two values hardly ever."""


@dataclass(frozen=True)
class Print:
    """What tells a value from others, whatever the order of its axes and the last bits of its numbers.

    Attributes:
        sizes: of the axes, ones left out, in ascending order.
        moments: mean, mean magnitude, root mean square, least and largest.
    """

    sizes: tuple[int, ...]
    moments: tuple[float, ...]

    @classmethod
    def of(cls, value: torch.Tensor) -> Print:
        """That of a tensor."""
        sizes = tuple(sorted(size for size in value.shape if size != 1))
        flat = torch.view_as_real(value.resolve_conj()) if value.is_complex() else value
        flat = torch.nan_to_num(flat.detach().reshape(-1).double(), posinf=1e30, neginf=-1e30)
        if not flat.numel():
            return cls(sizes, ())
        least, largest = torch.aminmax(flat)
        root = flat.square().mean().sqrt()
        return cls(sizes, tuple(map(float, (flat.mean(), flat.abs().mean(), root, least, largest))))

    def near(self, other: Print) -> bool:
        """Whether both may be of one value."""
        if self.sizes != other.sizes or len(self.moments) != len(other.moments):
            return False
        scale = max(map(abs, self.moments), default=0.0)
        return all(abs(a - b) <= CLOSE * scale for a, b in zip(self.moments, other.moments, strict=True))


@dataclass(frozen=True)
class ModuleCall:
    """One call of a module in eager mode.

    Attributes:
        arguments: name and print of each tensor that it was given.
        results: prints of what it returned; None where that is no tensor.
        absent: names of arguments that were None, which torch.export may fill: a mask that eager mode does without.
    """

    path: str
    arguments: tuple[tuple[str, Print], ...]
    results: tuple[Print | None, ...]
    absent: tuple[str, ...] = ()

    def argument(self, found: Print | None) -> str | None:
        """What the forward calls a value, if it was given that."""
        return next((name for name, each in self.arguments if found is not None and each.near(found)), None)

    def result(self, found: Print | None) -> int | None:
        """Which of the results a value is."""
        places = [place for place, each in enumerate(self.results) if found and each is not None and each.near(found)]
        return places[0] if places else None


Seen = Callable[[str, Mapping[str, Any], Any], None]
"""Called with the path of a module, its arguments by name, and what it returned."""


@contextmanager
def watching(module: torch.nn.Module, seen: Seen) -> Iterator[None]:
    """Call `seen` after each call of a module within `module`."""

    def hook(path: str, kind: torch.nn.Module) -> Callable[..., None]:
        def after(_: torch.nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
            seen(path, _named(kind, args, kwargs), output)

        return after

    handles = [
        each.register_forward_hook(hook(path, each), with_kwargs=True)
        for path, each in module.named_modules()
        if path and not isinstance(each, torch.jit.ScriptModule)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _StableSorts(TorchFunctionMode):
    """Sorts that may leave equal elements in any order leave them in theirs, as the captured ones do."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in SORTS and 1 <= len(args) <= 3 and "stable" not in kwargs:
            return func(args[0], stable=True, **dict(zip(("dim", "descending"), args[1:], strict=False)), **kwargs)
        return func(*args, **kwargs)


SORTS = (torch.sort, torch.Tensor.sort, torch.argsort, torch.Tensor.argsort)


@contextmanager
def undisturbed(module: torch.nn.Module) -> Iterator[Callable[[], bool]]:
    """Put buffers and plain attributes back at the end; gives a function that tells whether buffers have changed.

    Within, `nn.TransformerEncoder` goes the way that it goes when it is traced: not by nested tensors, which have no
    shape, and whose results are zeros where the padding mask is. Sorting keeps the order of equal elements.
    """
    kept = [(each, name, value, value.clone()) for each, name, value in _buffers(module)]
    plain = [(each.__dict__, key, value, _contents(value)) for each in _modules(module) for key, value in _plain(each)]

    def changed() -> bool:
        return any(
            each._buffers[name] is not value or not torch.equal(value, before) for each, name, value, before in kept
        )

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with _StableSorts():
            yield changed
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        with torch.no_grad():
            for each, name, value, before in kept:
                value.copy_(before)
                each._buffers[name] = value
            for attributes, key, value, before in plain:
                attributes[key] = value
                if isinstance(value, torch.Tensor):
                    value.copy_(before)
                elif type(value) in CONTAINERS:
                    value.clear()
                    (value.update if hasattr(value, "update") else value.extend)(before)


def copied(values: Any) -> Any:
    """Arguments whose tensors may be changed in place."""
    return pytree.tree_map(lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf, values)


def observe(program: Program, module: torch.nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Run the example in eager mode and through the graph: fills in `program.observed`, and nodes' prints.

    A graph that torch itself does not run tells nothing: its modules' arguments have no names then.
    """
    calls: list[ModuleCall] = []

    def seen(path: str, arguments: Mapping[str, Any], output: Any) -> None:
        given = tuple((name, Print.of(value)) for name, value in tensors_of(arguments))
        results = (Print.of(leaf) if isinstance(leaf, torch.Tensor) else None for leaf in pytree.tree_leaves(output))
        absent = tuple(name for name, value in arguments.items() if value is None)
        calls.append(ModuleCall(path, given, tuple(results), absent))

    with torch.no_grad(), torch.random.fork_rng(devices=[]), undisturbed(module):
        with watching(module, seen):
            module(*copied(args), **copied(dict(kwargs)))
        try:
            _run(program)
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            program.notes += (f"the model's outputs alone are compared: torch cannot run its graph ({reason})",)
            return
    program.observed = calls
    if not program.mutated:
        program.notes += _repeated(module, args, kwargs)


def _repeated(module: torch.nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[str, ...]:
    """What to say of a model whose second call gives something else, and not by way of its buffers."""

    def result(seed: int) -> list[torch.Tensor]:
        torch.manual_seed(seed)
        found = module(*copied(args), **copied(dict(kwargs)))
        return [leaf.clone() for leaf in pytree.tree_leaves(found) if isinstance(leaf, torch.Tensor)]

    with torch.no_grad(), torch.random.fork_rng(devices=[]), undisturbed(module):
        before, first = _held(module), result(0)
        after, second = _held(module), result(0)
        if not _same(first, second):
            changed = sorted(n for n in before | after if not _same(before.get(n, []), after.get(n, [])))
            kept = f"keeps values in {', '.join(changed)}" if changed else "keeps values between calls"
            way = "what is captured is its first call: register what it keeps as buffers"
            return (f"a second call of the original gives other results, for it {kept}, and {way}",)
        if not _same(first, result(1)):
            return ("the original draws random numbers, which the captured model does otherwise",)
    return ()


def _held(module: torch.nn.Module) -> dict[str, list[torch.Tensor]]:
    """The tensors and numbers among plain attributes, by the attribute's name."""
    found: dict[str, list[torch.Tensor]] = {}
    for path, each in module.named_modules():
        for key, value in () if isinstance(each, torch.jit.ScriptModule) else _plain(each):
            leaves = [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor | int | float)]
            if leaves:
                found[f"{path}.{key}".removeprefix(".")] = [torch.as_tensor(leaf).detach().clone() for leaf in leaves]
    return found


def _same(before: Sequence[torch.Tensor], after: Sequence[torch.Tensor]) -> bool:
    pairs = zip(before, after, strict=False)
    return len(before) == len(after) and all(a.shape == b.shape and torch.equal(a, b) for a, b in pairs)


def tensors_of(arguments: Mapping[str, Any]) -> list[tuple[str, torch.Tensor]]:
    """Each tensor among arguments with a name: of several in one argument, its name and their number."""
    found: list[tuple[str, torch.Tensor]] = []
    for name, value in arguments.items():
        leaves = [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]
        single = isinstance(value, torch.Tensor)
        found += [(name if single else f"{name}_{place}", leaf) for place, leaf in enumerate(leaves)]
    return found


class _Reader(fx.Interpreter):
    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, torch.Tensor):
            n.meta["print"] = Print.of(value)
        return value


def _run(program: Program) -> None:
    assert program.owner is not None
    given = dict(zip(program.inputs, copied(program.given), strict=True))
    values = [
        program.tensors[program.states[node]].clone() if node in program.states else given.get(node)
        for node in program.graph.nodes
        if node.op == "placeholder"
    ]
    _Reader(program.owner, graph=program.graph).run(*values)


def _named(module: torch.nn.Module, args: tuple, kwargs: dict) -> dict[str, Any]:
    try:
        bound = inspect.signature(module.forward).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return {f"x{place}": value for place, value in enumerate(args)} | kwargs
    named: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        named |= value if kind is inspect.Parameter.VAR_KEYWORD else {name: value}
    return named


CONTAINERS = (dict, list, set, deque, OrderedDict, defaultdict)
INTERNALS = set(torch.nn.Module().__dict__)


def _modules(module: torch.nn.Module) -> list[torch.nn.Module]:
    """Those whose attributes are Python's."""
    return [] if isinstance(module, torch.jit.ScriptModule) else list(module.modules())


def _plain(module: torch.nn.Module) -> list[tuple[str, Any]]:
    """Attributes that are no parameters, buffers or modules."""
    return [(key, value) for key, value in module.__dict__.items() if key not in INTERNALS]


def _contents(value: Any) -> Any:
    """A copy of what a call may change in place."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    return value.copy() if type(value) in CONTAINERS else None  # others' own types may refuse to change


def _buffers(module: torch.nn.Module) -> Iterator[tuple[torch.nn.Module, str, torch.Tensor]]:
    for each in _modules(module):
        for name, value in each._buffers.items():
            if value is not None:
                yield each, name, value
