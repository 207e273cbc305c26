"""A captured model against the PyTorch model: outputs at several inputs and sizes, every module's output, controls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import permutations
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import sympy
import torch
from mlx.utils import tree_flatten
from torch.utils import _pytree as pytree

from pytorch_to_mlx.capture.examples import Example, Sizes, other_values
from pytorch_to_mlx.capture.generate import Generated, Tap
from pytorch_to_mlx.capture.observe import copied, undisturbed, watching
from pytorch_to_mlx.capture.state import plain, result_leaves
from pytorch_to_mlx.capture.subject import Subject
from pytorch_to_mlx.captured import MODEL_TYPE
from pytorch_to_mlx.errors import CaptureError, ParityError
from pytorch_to_mlx.parity import INFO, Bar, compare_tap, perturbed, relative_error
from pytorch_to_mlx.parity import watching as watching_mlx
from pytorch_to_mlx.parity.system import system
from pytorch_to_mlx.report import CaseResult, Controls, ParityReport, TapResult

OTHER_SIZES = "sizes "
"""How the names of cases of other sizes begin."""
STATE = "state "
"""How the names of what a call leaves behind begin."""
BAR = Bar("relative", 1e-4, floors=2)
EXACT = Bar("exact")
HALVES = {torch.float16: Bar("relative", 4e-3), torch.bfloat16: Bar("relative", 3e-2)}
"""Eight units in the last place: where numbers have so few digits, each operator's own order of sums shows."""
SENSITIVE = 1e-3
"""The least that an output must change, relatively, when every input has other values."""
SHARES = (1.0, 0.5, 0.1, 10.0, 100.0, 1000.0)
"""How much of an example's values is replaced: less where outputs are saturated by other values altogether, and many
times as much where they hardly move, as those of a deep network behind norms whose statistics are not its own."""
CONTROLS = 3

Values = dict[str, np.ndarray]
Orders = dict[str, list[tuple[int, ...]]]
Note = Callable[[str], None]


def bar_of(subject: Subject) -> Bar:
    """How near outputs must be: by the narrowest of the dtypes that a model stores or takes."""
    return HALVES.get(_narrowest(subject), BAR)


def _narrowest(subject: Subject) -> torch.dtype:
    tensors = [*subject.module.parameters(), *subject.module.buffers(), *subject.example.tensors]
    dtypes = {tensor.dtype for tensor in tensors}
    return next((dtype for dtype in reversed(HALVES) if dtype in dtypes), torch.float32)


def prove(
    subject: Subject,
    generated: Generated,
    network: nn.Module,
    sizes: Sizes,
    *,
    note: Note = lambda line: None,
) -> ParityReport:
    """Compare the network with the judge.

    Args:
        subject: the model.
        generated: what its source says of taps.
        network: of that source, with weights, in evaluation mode.
        sizes: which of the inputs' sizes are dynamic.
        note: called with a line at each step.

    Raises:
        ParityError: the comparison would prove nothing: outputs are constant, or do not depend on the inputs.
        CaptureError: the network cannot be computed.
    """
    return _Proof(subject, generated, network, sizes, note).report()


def other_at_one(subject: Subject, generated: Generated, network: nn.Module, sizes: Sizes) -> list[sympy.Symbol]:
    """The dynamic sizes for which 1 is something else to the original: torch traces them as larger than that."""
    proof = _Proof(subject, generated, network, sizes, lambda line: None)
    return [symbol for symbol in sizes.symbols if not proof.holds_at_one(symbol)]


class _Proof:
    def __init__(self, subject: Subject, generated: Generated, network: nn.Module, sizes: Sizes, note: Note) -> None:
        self.subject, self.generated, self.network, self.sizes, self.note = subject, generated, network, sizes, note
        self.taps = generated.taps if subject.is_eager else ()
        self.weights: list[tuple[str, mx.array]] = list(dict(tree_flatten(network.parameters())).items())
        self.orders: Orders = {}
        self.bar = bar_of(subject)

    def report(self) -> ParityReport:
        cases = list(self._cases())
        _check_alive(cases)
        self.note(f"comparing {len(cases)} inputs, {len(self.taps)} outputs of modules each")
        results = [self._compared(example, theirs) for example, theirs in cases]
        results[1] = replace(results[1], alive={"sensitivity": _sensitivity(cases)})
        controls = None
        if all(result.first_divergence is None for result in results):
            self.note("perturbing weights, which the comparison must notice")
            controls = self._controls(cases)
        package = self.subject.origin
        return ParityReport(
            model_type=MODEL_TYPE,
            variant=self.generated.root,
            mode=str(_narrowest(self.subject)).removeprefix("torch."),
            reference=package,
            upstream=self.subject.judges,
            checkpoint="",
            system=system(),
            cases=tuple(results),
            controls=controls,
        )

    def holds_at_one(self, symbol: sympy.Symbol) -> bool:
        """Whether network and original agree where one dynamic size is 1."""
        given = self.subject.example
        now = self.sizes.of(given.tensors)
        resized = self.sizes.resized(given, {**now, symbol: 1}, "size 1", freely=True) if symbol in now else None
        if resized is None or now[symbol] == 1:
            return True
        try:  # the original first: where an index is out of bounds it says so, and MLX reads other memory
            return self._compared(resized, self._upstream(resized)).first_divergence is None
        except Exception:  # its own checks, or a source that cannot do it
            return False

    # Upstream.

    def _cases(self) -> Iterator[tuple[Example, Values]]:
        """The example, other values, and up to two other sizes, with what upstream computes of each."""
        given = self.subject.example
        theirs = self._upstream(given)
        yield given, theirs
        yield self._other(given, theirs)
        count = 0
        for sizes in self.sizes.candidates(given.tensors) if self.sizes.symbols else ():
            resized = self.sizes.resized(given, sizes, f"{OTHER_SIZES}{', '.join(map(str, sizes.values()))}")
            if resized is None:
                continue
            try:
                theirs = self._upstream(resized)
            except Exception:  # the original's own checks: another size is tried
                continue
            yield resized, theirs
            count += 1
            if count == 2:
                return

    def _other(self, given: Example, theirs: Values) -> tuple[Example, Values]:
        """Other values that the original takes: of all inputs, or but for integers that may have to be as they are."""
        floats = [place for place, tensor in enumerate(given.tensors) if tensor.is_floating_point()]
        integers = [place for place in range(len(given.tensors)) if place not in floats]
        ways = ((), *((place,) for place in integers), tuple(integers))
        # Numbers of places may be floats too, as in boxes whose first column is their image's.
        ways += tuple((*integers, place) for place in floats if len(floats) > 1)
        failure: Exception | None = None
        for kept in ways:
            try:
                return self._with_other_values(given, theirs, kept)
            except Exception as error:  # the original's own checks
                failure = error
        raise ParityError(
            f"{self.subject.origin} takes no other values than the example's ({type(failure).__name__}: {failure}), so "
            "that nothing shows that its outputs depend on them; give an example of which integers may be shuffled"
        ) from failure

    def _with_other_values(self, given: Example, theirs: Values, kept: Sequence[int]) -> tuple[Example, Values]:
        """Other values that move the outputs, if there are such."""
        found = given, theirs
        for share in SHARES:
            other = replace(other_values(given, share, kept=kept), calls=2 if self.generated.states else 1)
            found = other, self._upstream(other)
            if SENSITIVE <= _sensitivity([(given, theirs), found]) < np.inf:
                break
        return found

    def _upstream(self, example: Example) -> Values:
        wanted: dict[tuple[str, int, int], list[str]] = {}
        for tap in self.taps:
            wanted.setdefault((tap.path, tap.upstream_call, tap.upstream_result), []).append(tap.name)
        calls: dict[str, int] = {}
        values: Values = {}

        def seen(path: str, arguments: Mapping[str, Any], output: Any) -> None:
            call = calls[path] = calls.get(path, -1) + 1
            for place, leaf in enumerate(pytree.tree_leaves(output)):
                if isinstance(leaf, torch.Tensor):
                    values.update(dict.fromkeys(wanted.get((path, call, place), ()), _array(leaf)))

        module = self.subject.module
        with torch.no_grad(), torch.random.fork_rng(devices=[]), undisturbed(module):
            torch.manual_seed(0)
            args, kwargs = copied((example.args, example.kwargs))
            judge = module if self.subject.judge is None else self.subject.judge()
            for _ in range(example.calls - 1):
                judge(*copied(args), **copied(kwargs))
            with watching(module, seen) if self.subject.is_eager else nullcontext():
                result = judge(*args, **kwargs)
            if self.subject.is_eager:
                buffers = dict(module.named_buffers())
                values |= {f"{STATE}{name}": _array(buffers[name]) for name in self.generated.states.values()}
        outputs = [leaf for leaf in result_leaves(plain(result)) if isinstance(leaf, torch.Tensor)]
        return values | {_output_name(place): _array(leaf) for place, leaf in enumerate(outputs)}

    # Ours.

    def _ours(self, example: Example) -> Values:
        wanted: dict[tuple[str, int], list[Tap]] = {}
        for tap in self.taps:
            wanted.setdefault((tap.module, tap.call), []).append(tap)
        paths = {path for path, _ in wanted}
        calls: dict[str, int] = {}
        values: Values = {}

        def seen(path: str, output: Any) -> None:
            call = calls[path] = calls.get(path, -1) + 1
            for tap in wanted.get((path, call), ()):
                values[tap.name] = _numpy(output[tap.result] if isinstance(output, tuple | list) else output)

        arrays = [to_mlx(tensor) for tensor in example.tensors]
        try:
            for _ in range(example.calls - 1):
                self.network(*map(mx.array, arrays))
            with watching_mlx(self.network, paths.__contains__, seen):
                result = self.network(*arrays)
            leaves = [_numpy(leaf) for leaf in result_leaves(result) if isinstance(leaf, mx.array)]
            now = dict(tree_flatten(self.network.parameters()))
            if self.subject.is_eager:
                values |= {f"{STATE}{theirs}": _numpy(now[mine]) for mine, theirs in self.generated.states.items()}
        except (ValueError, TypeError, RuntimeError, IndexError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CaptureError(
                f"the generated source does not run on {example.name} ({reason}); report this"
            ) from error
        finally:
            self.network.load_weights(self.weights)  # states that the call has changed
        return values | {_output_name(place): leaf for place, leaf in enumerate(leaves)}

    # Both.

    def _compared(self, example: Example, theirs: Values) -> CaseResult:
        ours = self._ours(example)
        results: list[TapResult] = []
        for name, mine in ours.items():
            if name not in theirs:
                results.append(compare_tap(name, mine, np.full((1, *mine.shape), np.nan), INFO))
                continue
            expected = theirs[name]
            mine = self._aligned(name, mine, expected)
            bar = self.bar if np.issubdtype(expected.dtype, np.floating) else EXACT
            scale = float(np.abs(expected).max(initial=0.0))
            floor = self.subject.rounding / scale if self.subject.rounding and scale else None
            results.append(compare_tap(name, mine, expected.astype(mine.dtype), bar, floor=floor))
        missing = [name for name in theirs if name not in ours and name.startswith("output")]
        if missing:
            raise CaptureError(f"the generated source returns no {', '.join(missing)}; report this")
        return CaseResult(example.name, tuple(results))

    def _aligned(self, name: str, ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        """Our value with its axes in the order of theirs: some modules work channels-last here.

        The order is found with the first input and kept for all others. Those that differ in axes of one element alone
        are kept together until a larger input tells them apart.
        """
        known = self.orders.get(name)
        if name.startswith(("output", STATE)) or (ours.shape == theirs.shape and known is None and ours.ndim < 2):
            return ours
        mine, wanted = (ours, theirs) if ours.ndim == theirs.ndim else (ours.squeeze(), theirs.squeeze())
        if known is None or len(known[0]) != mine.ndim:
            known = list(permutations(range(mine.ndim)))
        fitting = [order for order in known if tuple(mine.shape[axis] for axis in order) == wanted.shape]
        if not fitting:
            return ours
        errors = [relative_error(mine.transpose(order), wanted) for order in fitting]
        least = min(errors)
        self.orders[name] = [order for order, error in zip(fitting, errors, strict=True) if not error > least]
        return mine.transpose(self.orders[name][0]).reshape(theirs.shape)

    def _controls(self, cases: Sequence[tuple[Example, Values]]) -> Controls:
        """Matrices of the first, middle and last layers, off by noise of 1 %: the comparison must fail.

        More noise is tried before one gives up: outputs may be saturated probabilities, numbers may have few digits,
        and weights small. A weight that hardly counts moves nothing in PyTorch either, and is left out where another
        one is noticed.
        """
        floats = [(name, value) for name, value in self.weights if mx.issubdtype(value.dtype, mx.floating)]
        # A quantized layer's biases count for nothing behind a norm, whose outputs sum to zero.
        matrices = [name for name, value in floats if value.ndim > 1 and not name.endswith(".biases")]
        matrices = matrices or [name for name, _ in floats]
        live = {name for name, value in floats if mx.any(value != 0)}  # noise is a share of the value
        matrices = [name for name in matrices if name in live] or matrices
        places = sorted({round(place * (len(matrices) - 1) / (CONTROLS - 1)) for place in range(CONTROLS)})
        chosen = [matrices[place] for place in places] if matrices else []
        unmoved = [name for name in chosen if not any(self._notices(name, factor, cases) for factor in (1, 10, 100))]
        if len(unmoved) < len(chosen):
            chosen, unmoved = [name for name in chosen if name not in unmoved], []
        return Controls(len(chosen), tuple(unmoved), len(self.weights) - len(chosen))

    def _notices(self, name: str, factor: float, cases: Sequence[tuple[Example, Values]]) -> bool:
        with self._perturbed(name, factor):
            return any(self._compared(*case).first_divergence is not None for case in cases)

    @contextmanager
    def _perturbed(self, name: str, factor: float) -> Iterator[None]:
        kept = self.weights
        self.weights = [(each, perturbed(value, 0, factor) if each == name else value) for each, value in kept]
        self.network.load_weights(self.weights)
        try:
            yield
        finally:
            self.weights = kept
            self.network.load_weights(kept)


def _check_alive(cases: Sequence[tuple[Example, Values]]) -> None:
    _, example = cases[0]
    names = [name for name in example if name.startswith("output")]
    if not names:
        raise ParityError("the model returns no arrays, so that nothing can be compared")
    constant = [name for name in names if example[name].size > 1 and np.ptp(example[name].astype(np.float64)) == 0]
    if len(constant) == len(names):
        raise ParityError(
            f"{', '.join(constant)} is one number throughout, so that a comparison would prove nothing; "
            "give an example, and weights, for which the outputs differ"
        )
    if _sensitivity(cases) < SENSITIVE:
        raise ParityError(
            "the outputs do not depend on the inputs, so that a comparison would prove nothing; "
            "give an example, and weights, for which they do"
        )


def _sensitivity(cases: Sequence[tuple[Example, Values]]) -> float:
    """How far the outputs move with the inputs, from the first case to the second."""
    (_, example), (_, other), *_ = cases
    return max(_moved(example[name], other[name]) for name in example if name.startswith("output"))


def _moved(value: np.ndarray, other: np.ndarray) -> float:
    """The largest change over the largest magnitude."""
    if value.shape != other.shape or not value.size:
        return float(value.shape != other.shape)
    scale = float(np.abs(value.astype(np.float64)).max())
    return float(np.abs(value.astype(np.float64) - other.astype(np.float64)).max()) / scale if scale else 0.0


def to_mlx(tensor: torch.Tensor) -> mx.array:
    """A tensor as MLX has it: float64, which only its CPU knows, as float32."""
    tensor = tensor.detach().resolve_conj().contiguous()
    if tensor.dtype in (torch.bfloat16, torch.float16):
        return mx.array(tensor.float().numpy()).astype(mx.bfloat16 if tensor.dtype == torch.bfloat16 else mx.float16)
    return mx.array(tensor.float().numpy() if tensor.dtype == torch.float64 else tensor.numpy())


def _array(tensor: torch.Tensor) -> np.ndarray:
    """Of complex numbers, the two parts behind one another."""
    tensor = tensor.detach().resolve_conj()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return tensor.float().numpy().copy() if tensor.is_floating_point() else tensor.numpy().copy()


def _numpy(value: mx.array) -> np.ndarray:
    return _real(np.array(value.astype(mx.float32) if value.dtype in (mx.bfloat16, mx.float16) else value))


def _real(value: np.ndarray) -> np.ndarray:
    return np.stack([np.real(value), np.imag(value)], -1) if np.iscomplexobj(value) else value


def _output_name(place: int) -> str:
    return f"output[{place}]" if place else "output"
