"""What is captured: a module from a Python factory, or one from a file of torch.export, TorchScript or ONNX."""

from __future__ import annotations

import copy
import importlib
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from pytorch_to_mlx.capture.examples import Example
from pytorch_to_mlx.capture.export import export
from pytorch_to_mlx.capture.observe import copied, undisturbed
from pytorch_to_mlx.capture.onnx_module import Root, module_of_onnx
from pytorch_to_mlx.capture.state import Program, program_of
from pytorch_to_mlx.capture.torchscript import module_of_script
from pytorch_to_mlx.capture.untrusted import SUFFIXES, check_exported, check_script
from pytorch_to_mlx.errors import CaptureError, CheckpointError, MissingDependencyError, UsageError


@dataclass
class Subject:
    """A model with an example of its inputs.

    Attributes:
        origin: what the user named: a factory, or a file's name.
        path: of the file, if it is one.
        module: what torch.export captures; its forward is the original's where `judge` is the module itself.
        judge: makes what computes the model, in upstream's own code and in its first state; None: the module itself.
        judges: the packages that the judge is from, with versions.
        rounding: how far the judge itself may be off, absolutely, where that is known.
        exported: the program, where the file has one.
    """

    origin: str
    path: Path | None
    module: torch.nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    judge: Callable[[], Callable[..., Any]] | None = None
    judges: dict[str, str] = field(default_factory=dict)
    rounding: float = 0.0
    exported: torch.export.ExportedProgram | None = None
    notes: tuple[str, ...] = ()

    @property
    def example(self) -> Example:
        """What it is called with."""
        return Example("example", self.args, self.kwargs)

    @property
    def is_eager(self) -> bool:
        """Whether the judge is the module itself, whose submodules can be watched."""
        return self.judge is None

    def program(self, *, dynamic: bool = True) -> Program:
        """Captured.

        Raises:
            CaptureError: torch cannot capture it; names the line and the way out.
        """
        if self.exported is None:
            return export(self.module, self.args, self.kwargs, dynamic=dynamic)
        program = program_of(self.exported)
        program.given = [tensor.detach() for tensor in self.example.tensors]
        return program


def from_factory(name: str) -> Subject:
    """Of `package.module:factory`, called without arguments; the working directory is importable.

    Raises:
        UsageError: there is no such function, or it returns something else than (module, args, kwargs).
    """
    made = _called("--module", name)
    if not (isinstance(made, tuple) and 2 <= len(made) <= 3 and isinstance(made[0], torch.nn.Module)):
        raise UsageError(f"--module {name} must return (module, args, kwargs), the module a torch.nn.Module")
    module, args, kwargs = made[0], made[1], made[2] if len(made) == 3 else {}
    if not isinstance(args, tuple | list) or not isinstance(kwargs, Mapping):
        raise UsageError(f"--module {name} must return args as a tuple and kwargs as a dict")
    return subject_of(module, tuple(args), dict(kwargs), origin=name)


def subject_of(
    module: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None, *, origin: str = ""
) -> Subject:
    """Of a module that is at hand, a `torch.jit.ScriptModule` too."""
    origin = origin or type(module).__qualname__
    judges = {"torch": str(torch.__version__)}
    if isinstance(module, torch.jit.ScriptModule):
        return _from_script(origin, None, module, args, dict(kwargs or {}))
    notes = ("the module was in training mode; what is captured is eval()",) if module.training else ()
    judges |= _package(type(module))
    return Subject(origin, None, module.eval(), args, dict(kwargs or {}), judges=judges, notes=notes)


def from_file(path: Path, inputs: str | None = None) -> Subject:
    """Of a file.

    Args:
        path: .pt2, TorchScript or ONNX.
        inputs: an example of its inputs: an .npz file with arrays by name or in order, or `package.module:function`
            that returns (args, kwargs). A .pt2 has one of its own, and an ONNX file of fixed sizes needs none.

    Raises:
        UnsafeFileError: it could run code.
        CheckpointError: it cannot be read.
        UsageError: it needs inputs.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file; name {SUFFIXES}, or use --module package.module:factory")
    given = _example(inputs) if inputs else None
    if path.suffix == ".onnx":
        return _from_onnx(path, given)
    try:
        if path.suffix == ".pt2":
            return _from_exported(path, given)
        check_script(path)
        script = torch.jit.load(str(path), map_location="cpu")
    except (RuntimeError, ValueError, OSError, KeyError) as error:
        if "constants.pkl" in str(error):
            raise CheckpointError(
                f"{path} is no TorchScript program: torch.save writes weights, or a module as a pickle; build the "
                "module in a function and use --module package.module:factory"
            ) from error
        raise CheckpointError(
            f"{path} cannot be read ({' '.join(str(error).split())[:200]}); give {SUFFIXES}"
        ) from error
    if given is None:
        raise UsageError(f"{path} is TorchScript, which tells no sizes: give --inputs example.npz")
    return _from_script(path.name, path, script, *given)


def _from_script(
    origin: str, path: Path | None, script: torch.jit.ScriptModule, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Subject:
    """Called once before it is captured, since scripts make states when first called; those begin at zero, or as left.

    They begin at zero where that computes what the script's first call does.
    """
    fresh, warm = copy.deepcopy(script.eval()), copy.deepcopy(script.eval())
    try:
        with torch.no_grad():
            warm(*copied(args), **copied(kwargs))
    except RuntimeError as error:
        names = ", ".join(argument.name for argument in script._c._get_method("forward").schema.arguments[1:])
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{origin} takes {names}; it does not run on its example ({reason})") from error
    before, module = dict(module_of_script(fresh).named_buffers()), module_of_script(warm)
    states = [
        value
        for name, value in module.named_buffers()
        if name not in before or before[name].shape != value.shape or not torch.equal(before[name], value)
    ]
    left = [value.clone() for value in states]
    for value in states:
        value.zero_()
    start = fresh
    if not _agree(module, copy.deepcopy(fresh), args, kwargs):
        start = warm
        for value, each in zip(states, left, strict=True):
            value.copy_(each)
    return Subject(origin, path, module, args, kwargs, lambda: copy.deepcopy(start), {"torch": str(torch.__version__)})


def _agree(module: torch.nn.Module, other: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether both compute nearly the same."""
    with torch.no_grad(), undisturbed(module):
        pairs = zip(
            *(pytree.tree_leaves(each(*copied(args), **copied(kwargs))) for each in (module, other)), strict=True
        )
        return all(
            a.shape == b.shape and torch.allclose(a, b, 1e-4, 1e-5) for a, b in pairs if isinstance(a, torch.Tensor)
        )


def _from_exported(path: Path, given: tuple[tuple, dict] | None) -> Subject:
    check_exported(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's, about its own code
        exported = torch.export.load(str(path))
    example = given or exported.example_inputs
    if example is None:
        raise UsageError(f"{path} has no example inputs: give --inputs example.npz")
    args, kwargs = example
    module = exported.module()
    return Subject(
        path.name, path, module, tuple(args), dict(kwargs), None, {"torch": str(torch.__version__)}, exported=exported
    )


def _from_onnx(path: Path, given: tuple[tuple, dict] | None) -> Subject:
    module = module_of_onnx(path)
    assert isinstance(module, Root)
    try:
        import onnxruntime
    except ImportError:
        raise MissingDependencyError(
            "an ONNX file is proven against onnxruntime: pip install 'pytorch-to-mlx[capture]'"
        ) from None
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    args, kwargs = pytree.tree_map(_number, (_drawn(path, session), {}) if given is None else given)
    names = [each.name for each in session.get_inputs()]
    if missing := [name for name in names[len(args) :] if name not in kwargs]:
        raise UsageError(f"{path} takes {', '.join(names)}; --inputs lacks {', '.join(missing)}")
    args = (*args, *(kwargs[name] for name in names[len(args) :]))

    def judge(*args: Any) -> Any:
        fed = dict(zip(names, args, strict=True))
        results = session.run(None, {name: np.asarray(value) for name, value in fed.items()})
        tensors = tuple(torch.from_numpy(np.ascontiguousarray(each)) for each in results)
        return tensors[0] if len(tensors) == 1 else tensors

    judges = {"onnxruntime": onnxruntime.__version__}
    return Subject(path.name, path, module, args, {}, lambda: judge, judges, rounding=ONNXRUNTIME_ROUNDING)


ONNXRUNTIME_ROUNDING = 6e-8
"""Its logistic function and tanh are rational approximations, which err so however small the result."""

ONNX_DTYPES = {
    "tensor(float)": torch.float32,
    "tensor(double)": torch.float64,
    "tensor(int64)": torch.int64,
    "tensor(int32)": torch.int32,
    "tensor(bool)": torch.bool,
}


def _drawn(path: Path, session: Any) -> tuple[torch.Tensor, ...]:
    """Normal numbers in the shapes that an ONNX file declares."""
    values = []
    generator = torch.Generator().manual_seed(0)
    for each in session.get_inputs():
        dtype = ONNX_DTYPES.get(each.type)
        if dtype is None or not dtype.is_floating_point or not all(isinstance(size, int) for size in each.shape):
            raise UsageError(f"{path}: input {each.name} is {each.type} {each.shape}: give --inputs example.npz")
        values.append(torch.randn(each.shape, generator=generator, dtype=dtype))
    return tuple(values)


def _number(value: Any) -> Any:
    """A single integer as Python has it: a rate or a mode, which branches of the graph may depend on."""
    single = isinstance(value, torch.Tensor) and value.ndim == 0 and value.dtype in (torch.int64, torch.int32)
    return int(value) if single else value


def _example(source: str) -> tuple[tuple, dict]:
    """The inputs that a file or a function gives."""
    if ":" in source and not Path(source).exists():
        made = _called("--inputs", source)
        if not (
            isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], tuple) and isinstance(made[1], dict)
        ):
            raise UsageError(f"--inputs {source} must return (args, kwargs)")
        return made
    try:
        arrays = np.load(source, allow_pickle=False)
        if not isinstance(arrays, np.lib.npyio.NpzFile):
            raise ValueError("it holds a single array; numpy.savez writes what is needed")
        values = {name: torch.from_numpy(np.array(arrays[name])) for name in arrays.files}
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"--inputs {source}: no .npz of arrays ({error})") from error
    if all(name.startswith("arr_") for name in values):  # what numpy.savez calls those without a name
        return tuple(values.values()), {}
    return (), values


def _called(flag: str, source: str) -> Any:
    """What the function that a flag names returns."""
    where, _, name = source.partition(":")
    if not where or not name:
        raise UsageError(f"{flag} {source} is not package.module:function")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        function = getattr(importlib.import_module(where), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{flag} {source} cannot be imported from here ({error})") from error
    try:
        return function()
    except Exception as error:  # the user's own code
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise CaptureError(f"{flag} {source} failed ({reason})") from error


def _package(kind: type) -> dict[str, str]:
    """The version of the package that a class is from, if it has one."""
    from importlib.metadata import PackageNotFoundError, packages_distributions, version

    top = kind.__module__.partition(".")[0]
    for name in packages_distributions().get(top, ()) if top != "torch" else ():
        try:
            return {name: version(name)}
        except PackageNotFoundError:
            continue
    return {}
