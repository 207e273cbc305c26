"""torch.export, asked for as many dynamic dimensions as the model allows, and its failures in a user's words."""

from __future__ import annotations

import inspect
import io
import logging
import re
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import sympy
import torch
from torch.fx.experimental import _config as symbolic
from torch.utils import _pytree as pytree

from pytorch_to_mlx.capture.branches import Answers, settled, told
from pytorch_to_mlx.capture.examples import Example
from pytorch_to_mlx.capture.limits import at_most
from pytorch_to_mlx.capture.names import variable_name
from pytorch_to_mlx.capture.observe import copied, observe, undisturbed
from pytorch_to_mlx.capture.places import is_torchs
from pytorch_to_mlx.capture.recurrent_shapes import any_number_of_steps
from pytorch_to_mlx.capture.sizes import can_be_written, expression
from pytorch_to_mlx.capture.state import Program, program_of
from pytorch_to_mlx.capture.whole import sizes_stay
from pytorch_to_mlx.errors import CaptureError

SECONDS = 45.0
"""Of processor time, for tracing with dynamic sizes."""
CONDITIONS = 200
"""How many comparisons may involve one size before torch takes it as fixed: each makes the next ones slower."""


@dataclass(frozen=True)
class _Attempt:
    """One way to trace a module.

    Attributes:
        dynamic: which sizes are: "all", those of the first axes ("batch"), or none ("").
        frozen: whether buffers of one integer are constants.
        answers: to branches on values.
        whole: whether `int` of a size stays a size.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    dynamic: str
    frozen: bool
    answers: dict[str, bool]
    whole: bool = False


def export(
    module: torch.nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None, *, dynamic: bool = True
) -> Program:
    """Capture a module with an example of its inputs.

    Args:
        module: is put into eval mode, and back when that is done.
        args, kwargs: the example; tensors among them become inputs, all else constants.
        dynamic: let every dimension of every input be dynamic that the model does not tie to a number. Where torch
            cannot do that, sizes stay as in the example, and `Program.notes` says why.

    Raises:
        CaptureError: torch cannot capture it: names the line of the original source and the way out.
    """
    args, kwargs = _told_apart(tuple(args), dict(kwargs or {}))
    training = {each for each in module.modules() if each.training}
    module.eval()
    failures: list[Exception] = []
    try:
        for each in _attempts(module, args, kwargs, dynamic, failures):
            try:
                with _constants(module) if each.frozen else _quiet(), Answers(each.answers):
                    program = _traced(module, each)
            except Exception as error:  # torch raises many types
                failures.append(error)
                continue
            program.notes += told(each.answers)
            if dynamic and each.dynamic != "all":
                which = "sizes but that of the batch" if each.dynamic else "sizes"
                program.notes += (f"{which} are fixed as in the example: {_reason(failures[0])}",)
            program.given = [tensor.detach() for tensor in Example("", args, kwargs).tensors]
            observe(program, module, args, kwargs)
            return program
    finally:
        for each in training:
            each.training = True
    raise failed(failures[-1]) from failures[-1]


def _told_apart(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """One tensor that is given for several inputs as several, since torch takes it for one input."""
    seen: set[int] = set()

    def own(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        again = id(leaf) in seen
        seen.add(id(leaf))
        return leaf.clone() if again else leaf

    return pytree.tree_map(own, (args, kwargs))


def _attempts(
    module: torch.nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    dynamic: bool,
    failures: Sequence[Exception],
) -> Iterator[_Attempt]:
    """What to try in turn: the most dynamic sizes first, all of them fixed at last."""
    answers: dict[str, bool] = {}
    levels = [(args, kwargs, "")]
    if dynamic:
        widened = _widened(module, args, kwargs)
        levels.insert(0, (args, kwargs, "all"))
        if widened is not None:
            levels = [(*widened, "all"), levels[0], (*widened, "batch"), levels[1]]
    for settle in (False, True):
        if settle:
            answers = settled(module, args, kwargs) if any(map(_on_values, failures)) else {}
            if not answers:
                return
        for frozen in (False, True) if any(map(_numbers, module.modules())) else (False,):
            for level in levels:
                for whole in (True, False) if level[2] else (False,):
                    if level[2] != "all" or not any(isinstance(failure, TimeoutError) for failure in failures):
                        yield _Attempt(*level, frozen, answers, whole)


def _traced(module: torch.nn.Module, attempt: _Attempt) -> Program:
    """The program of an attempt; one with dynamic sizes has limits, since expressions of sizes may grow without end."""
    if attempt.dynamic:
        limit: Any = symbolic
        sizes = sizes_stay(module) if attempt.whole else nullcontext()
        with sizes, at_most(SECONDS), limit.patch(symbol_guard_limit_before_specialize=CONDITIONS):
            program = program_of(_export(module, attempt.args, attempt.kwargs, attempt.dynamic), module)
    else:
        program = program_of(_export(module, attempt.args, attempt.kwargs, ""), module)
    if attempt.whole and not all(map(can_be_written, _sizes(program))):
        raise NotImplementedError("a size follows from others by way of an unknown function")
    constant = attempt.frozen or not any(map(_numbers, module.modules()))
    if any(map(_is_item, program.graph.nodes)) and (attempt.whole or not constant):
        raise NotImplementedError("a number depends on values, which may be those of a buffer")
    return program


def _is_item(node: torch.fx.Node) -> bool:
    return node.target in (torch.ops.aten.item.default, torch.ops.aten._local_scalar_dense.default)


def _sizes(program: Program) -> Iterator[sympy.Expr]:
    """Every size in a program."""
    for node in program.graph.nodes:
        value = node.meta.get("val")
        for each in value.shape if isinstance(value, torch.Tensor) else (value,):
            if isinstance(each, torch.SymInt | torch.SymFloat):
                yield expression(each)


def _export(
    module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic: str
) -> torch.export.ExportedProgram:
    with torch.no_grad(), _quiet(), _named_inputs(module, args, kwargs), any_number_of_steps(), _unvalidated():
        shapes = None
        if dynamic:
            given = inspect.signature(module.forward).bind(*args, **kwargs)
            shapes = pytree.tree_map(partial(_any_size, dynamic == "batch"), dict(given.arguments))
        args, kwargs = copied((args, kwargs))  # on which torch leaves marks, of dynamic sizes say
        return torch.export.export(module, args, kwargs, dynamic_shapes=shapes)


def _widened(
    module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """The example with a batch of two instead of one, since torch takes a size of one for a constant.

    None where the model does not take that, or does something else with it.
    """

    def twice(leaf: Any) -> Any:
        single = isinstance(leaf, torch.Tensor) and leaf.ndim and leaf.shape[0] == 1
        return torch.cat([leaf, leaf]) if single else leaf

    doubled = pytree.tree_map(twice, (args, kwargs))
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), undisturbed(module) as changed:
            one, two = (pytree.tree_leaves(module(*a, **k)) for a, k in copied(((args, kwargs), doubled)))
            if changed():  # a state may be made anew for another batch
                return None
    except Exception:  # whatever the model raises for a batch of two
        return None
    pairs = [(a, b) for a, b in zip(one, two, strict=False) if isinstance(a, torch.Tensor)]
    same = len(one) == len(two) and all(a.shape == b.shape or a.shape[1:] == b.shape[1:] for a, b in pairs)
    return doubled if same and any(a.shape != b.shape for a, b in pairs) else None


@contextmanager
def _named_inputs(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[None]:
    """Give a forward that takes *args or **kwargs the names of what it is called with: torch loses count else."""
    found = inspect.signature(module.forward)
    kinds = {each.kind for each in found.parameters.values()}
    if not kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
        yield
        return
    original = module.forward
    known = [each.name for each in found.parameters.values() if each.kind == each.POSITIONAL_OR_KEYWORD]
    known += [variable_name(each) for each in getattr(module, "input_names", ())]  # of an ONNX graph
    names = [*known, *(f"input_{place}" if place else "input" for place in range(len(args)))][: len(args)]
    positional, keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY

    def forward(*given: Any, **named: Any) -> Any:
        return original(*given, **named)

    parameters = [inspect.Parameter(name, positional) for name in names]
    parameters += [inspect.Parameter(name, keyword) for name in kwargs]
    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    module.forward = forward
    try:
        yield
    finally:
        del module.forward


def _any_size(batch: bool, leaf: Any) -> Any:
    if not isinstance(leaf, torch.Tensor):
        return None
    return dict.fromkeys(range(min(leaf.ndim, 1) if batch else leaf.ndim), torch.export.Dim.AUTO)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch logs and prints of an attempt that fails: the last failure is told."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def _unvalidated() -> Iterator[None]:
    """Without the checks of torch.distributions, which ask for values."""
    before = torch.distributions.Distribution._validate_args
    torch.distributions.Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        torch.distributions.Distribution.set_default_validate_args(before)


@contextmanager
def _constants(module: torch.nn.Module) -> Iterator[None]:
    """Make constants of buffers that hold one number, since some models compute sizes and branches from them."""
    changed: list[tuple[torch.nn.Module, str, torch.Tensor, bool]] = []
    kinds: list[tuple[torch.nn.Module, type]] = []
    for each in module.modules():
        single = _numbers(each)
        if not single:
            continue
        kind = type(each)
        made = type(kind.__name__, (kind,), {name: _constant(value) for name, value in single.items()})
        made.__module__, made.__qualname__ = kind.__module__, kind.__qualname__
        for name, value in single.items():
            changed.append((each, name, value, name in each._non_persistent_buffers_set))
            del each._buffers[name]
        kinds.append((each, kind))
        each.__class__ = made
    try:
        with _quiet():
            yield
    finally:
        for each, kind in kinds:
            each.__class__ = kind
        for each, name, value, transient in changed:
            each.register_buffer(name, value, persistent=not transient)


def _numbers(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Its buffers that hold one number."""
    return {
        name: value
        for name, value in module._buffers.items()
        if value is not None and value.numel() == 1 and not value.is_complex()
    }


def _constant(value: torch.Tensor) -> property:
    number, dtype, shape = value.item(), value.dtype, value.shape
    return property(lambda self: torch.tensor(number, dtype=dtype).reshape(shape))


def failed(error: Exception) -> CaptureError:
    """What a user is told of an exception of torch's."""
    where = _line(error)
    if _on_values(error):
        way = "which branch is taken, or a size, depends on values there: pass it as an argument, or use torch.where"
        return CaptureError(f"{where}{way}")
    way = "write it with operations on whole tensors, or capture what is around it"
    return CaptureError(f"{where}torch.export cannot capture this ({_reason(error)}): {way}")


def _on_values(error: Exception) -> bool:
    """Whether a branch or a size depends on values."""
    return "data-dependent" in _reason(error) or "DataDependent" in type(error).__name__


def _reason(error: Exception) -> str:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
    first = next((line.strip() for line in plain.splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first[:200]}"


def _line(error: BaseException) -> str:
    """`file:line: ` of the last line outside of torch that led to an exception, with its source."""
    inner: BaseException | None = error
    while inner is not None:
        frames = traceback.extract_tb(inner.__traceback__)
        own = [each for each in frames if not is_torchs(each.filename) and "<" not in each.filename]
        own = [each for each in own if Path(each.filename).parent != Path(__file__).parent]
        if own:
            return f"{own[-1].filename}:{own[-1].lineno}: {(own[-1].line or '').removesuffix(':')}: "
        inner = inner.__cause__ or inner.__context__
    return ""
