"""capture(): a PyTorch model becomes a folder with MLX source, weights and the proof that both compute the same."""

from __future__ import annotations

import re
import tempfile
import types
from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import sympy
import torch
from mlx.utils import tree_flatten

from pytorch_to_mlx.arrays import dtype_name, to_numpy
from pytorch_to_mlx.capture.conditions import allowed, guards, relations
from pytorch_to_mlx.capture.emitter import DTYPES
from pytorch_to_mlx.capture.examples import Sizes
from pytorch_to_mlx.capture.generate import Generated, generate
from pytorch_to_mlx.capture.proof import BAR, OTHER_SIZES, bar_of, other_at_one, prove, to_mlx
from pytorch_to_mlx.capture.sizes import dimension_names, shape_text
from pytorch_to_mlx.capture.state import Program, result_leaves
from pytorch_to_mlx.capture.subject import Subject
from pytorch_to_mlx.captured import MODEL_TYPE, SOURCE, Allowed, CapturedConfig, Input
from pytorch_to_mlx.errors import CaptureError, QuantizationError, UsageError
from pytorch_to_mlx.folder import Converter, FolderConfig, FolderWriter, SourceFile, SourceRecord, with_parity
from pytorch_to_mlx.layers.device import portable
from pytorch_to_mlx.layers.quantized import quantize_modules, unpacked
from pytorch_to_mlx.parity import relative_error
from pytorch_to_mlx.quantization import BITS, GROUP_SIZES, Quantization
from pytorch_to_mlx.report import CaseResult, ParityReport
from pytorch_to_mlx.trust import trust
from pytorch_to_mlx.weights import TensorSpec

FUNCTION = "model.mlxfn"
Note = Callable[[str], None]


@dataclass(frozen=True)
class Captured:
    """What `capture` made.

    Attributes:
        report: the proof, whether it holds or not.
        network: of the source, with weights.
    """

    folder: Path
    config: FolderConfig
    settings: CapturedConfig
    generated: Generated
    report: ParityReport
    network: nn.Module
    nodes: int


def capture(
    subject: Subject,
    output: str | Path,
    *,
    dynamic: bool = True,
    quantize: bool = False,
    q_bits: int | None = None,
    q_group_size: int | None = None,
    mlxfn: bool = False,
    force: bool = False,
    note: Note = lambda line: None,
) -> Captured:
    """Write a model's MLX source, weights, `config.json`, card and `parity.json`: a whole folder, or none.

    Args:
        subject: the model with an example of its inputs.
        output: the folder to write.
        dynamic: let sizes be dynamic that the model does not tie to a number.
        quantize: quantize linear layers and embeddings, to `q_bits` (4) in groups of `q_group_size` (64).
        mlxfn: write `model.mlxfn` too, for C++, Swift and Python without this package; run back and compared.
        force: replace an existing model folder.
        note: called with a line at each step.

    Raises:
        CaptureError: torch cannot capture the model, or MLX has no form of its operators; all are named.
        ParityError: the example cannot prove anything.
        PytorchToMlxError: the folder cannot be written. A proof that fails is no error: see the report.
    """
    for flag, value in (("--q-bits", q_bits), ("--q-group-size", q_group_size)):
        if value is not None and not quantize:
            raise UsageError(f"{flag} {value} is for quantizing; add -q, or leave it out")
    folder = Path(output)
    with FolderWriter(folder, force=force) as writer:
        program, generated = _written(subject, dynamic, note)
        parameters = dict(subject.module.named_parameters())
        if changed := next((each for each in program.mutated if each in parameters), None):
            raise CaptureError(f"a call of the model changes its parameter {changed}: register it as a buffer")
        sizes, names, conditions = Sizes(program), input_sizes(program), guards(program, own=True)
        restricted = allowed(conditions, names, sizes.of(subject.example.tensors))
        related, unchecked = relations(conditions, names)
        nodes = sum(node.op == "call_function" for node in program.graph.nodes)
        network = built(generated, program)
        report = prove(subject, generated, network, sizes, note=note)
        for symbol in other_at_one(subject, generated, network, sizes) if report.passed else ():
            before = restricted.get(names[symbol], Allowed())
            restricted[names[symbol]] = replace(before, least=2) if 1 in before else before
        quantization = None
        if quantize and report.passed:
            bits, group_size = 4 if q_bits is None else q_bits, 64 if q_group_size is None else q_group_size
            quantization = treatment(network, generated.source, bits, group_size)
            report = _quantized(subject, generated, network, sizes, program.folded, quantization, report, note)
        settings = CapturedConfig(
            root=generated.root,
            inputs=described_inputs(program),
            notes=(
                *subject.notes,
                *program.notes,
                *unproven(report, sizes),
                *of_dtypes(subject, program),
                *(f"the original also asks whether {each}, which a call here does not check" for each in unchecked),
            ),
            unused=generated.unused,
            folded=program.folded or None,
            sizes=restricted or None,
            relations=related,
        )
        config = _config(subject, settings, network, quantization)
        arrays = {name: to_numpy(value) for name, value in dict(tree_flatten(network.parameters())).items()}
        specs = [TensorSpec(name, array.shape, array.dtype.name) for name, array in arrays.items()]
        if specs:  # a spectrogram, say, has none
            writer.write_tensors(specs, iter(arrays.items()))
        source = generated.source.encode()
        writer.write_bytes(SOURCE, source)
        writer.write_bytes("config.json", config.to_bytes())
        writer.write_bytes("parity.json", report.to_json())
        if mlxfn:
            note(f"writing {FUNCTION}")
            writer.write_bytes(FUNCTION, exported_function(network, subject))
        writer.write_bytes("README.md", card(config, settings, report, mlxfn).encode())
        trust(source)
    return Captured(folder, config, settings, generated, report, network, nodes)


def _written(subject: Subject, dynamic: bool, note: Note) -> tuple[Program, Generated]:
    """The captured program and its source; with fixed sizes where there is no source for dynamic ones."""
    note("capturing the graph")
    program = subject.program(dynamic=dynamic)
    note("writing the source")
    try:
        return program, generate(program)
    except CaptureError as error:
        if not Sizes(program).symbols:
            raise
        reason = str(error)
    program = subject.program(dynamic=False)
    generated = generate(program)
    program.notes += (f"sizes are fixed as in the example: {reason}",)
    return program, generated


def unproven(report: ParityReport, sizes: Sizes) -> tuple[str, ...]:
    """What to say where dynamic sizes were not tried: PyTorch's own checks may refuse each that was thought of."""
    tried = sum(case.name.startswith(OTHER_SIZES) for case in report.cases)
    if not sizes.symbols or tried >= 2:
        return ()
    return (f"{tried} of 2 other sizes could be compared, for the original refused the rest",)


def of_dtypes(subject: Subject, program: Program) -> tuple[str, ...]:
    """What to say of other dtypes than float32."""
    notes = []
    if (bar := bar_of(subject)) is not BAR:
        notes.append(f"PyTorch's numbers have few digits: outputs are compared within {bar.limit:g}")
    values = [node.meta.get("val") for node in program.graph.nodes]
    if any(isinstance(value, torch.Tensor) and value.dtype in (torch.float64, torch.complex128) for value in values):
        notes.append("what PyTorch computes in float64 is computed in float32")
    return tuple(notes)


def input_sizes(program: Program) -> dict[sympy.Symbol, str]:
    """The names of dynamic sizes."""
    values = (node.meta.get("val") for node in program.inputs)
    return dimension_names([value for value in values if isinstance(value, torch.Tensor)])


def described_inputs(program: Program) -> tuple[Input, ...]:
    """What the model takes; dynamic sizes have names."""
    nodes = {node: name for node, name in program.inputs.items() if isinstance(node.meta.get("val"), torch.Tensor)}
    names = input_sizes(program)
    return tuple(
        Input(
            name,
            tuple(int(size) if size.isdigit() else size for size in shape_text(node.meta["val"].shape, names)),
            dtype_name(DTYPES[node.meta["val"].dtype]),
        )
        for node, name in nodes.items()
    )


def built(generated: Generated, program: Program) -> nn.Module:
    """The network of the source, with the program's tensors, in evaluation mode.

    Raises:
        CaptureError: the source does not make what the tensors fit.
    """
    module = types.ModuleType(f"captured_{generated.root}")
    try:
        exec(compile(generated.source, SOURCE, "exec"), module.__dict__)  # what was just written
        network = getattr(module, generated.root)()
        weights = [
            (name, to_mlx(program.tensors[original] if axes is None else program.tensors[original].permute(axes)))
            for name, (original, axes) in generated.tensors.items()
        ]
        network.load_weights(weights, strict=True)
    except (ValueError, TypeError, NameError, AttributeError, SyntaxError) as error:
        raise CaptureError(f"the generated source is wrong ({type(error).__name__}: {error}); report this") from error
    network.eval()
    mx.eval(network.parameters())
    return network


def treatment(network: nn.Module, source: str, bits: int, group_size: int) -> Quantization:
    """Which layers are quantized: all that can be, but those whose weight is read beside the layer's own call.

    Raises:
        QuantizationError: MLX has not such bits or groups, or there is nothing to quantize.
    """
    if bits not in BITS or group_size not in GROUP_SIZES:
        raise QuantizationError(
            f"MLX has no {bits} bits in groups of {group_size}; choose --q-bits of {', '.join(map(str, BITS))}, "
            f"--q-group-size of {', '.join(map(str, GROUP_SIZES))}"
        )
    read = set(re.findall(r"(\w+)(?:\[\w+\])?\.weight\b", source))
    layers, kept = [], {}
    for path, module in network.named_modules():
        if not hasattr(module, "to_quantized"):
            continue
        last = next((part for part in reversed(path.split(".")) if not part.isdigit()), "")
        if last in read:
            kept[path] = "its weight is used by other layers too"
        elif module["weight"].shape[-1] % group_size:
            kept[path] = f"groups of {group_size} do not divide its width {module['weight'].shape[-1]}"
        else:
            layers.append(path)
    if not layers:
        reasons = "; ".join(sorted(set(kept.values()))) or "it has no linear layers or embeddings"
        raise QuantizationError(f"nothing in this model can be quantized ({reasons}); capture without -q")
    return Quantization(bits, group_size, tuple(sorted(layers)), dict(sorted(kept.items())))


def _quantized(
    subject: Subject,
    generated: Generated,
    network: nn.Module,
    sizes: Sizes,
    folded: Container[str],
    quantization: Quantization,
    exact: ParityReport,
    note: Note,
) -> ParityReport:
    """Quantize the network in place and prove it against PyTorch with the weights that the packed numbers stand for."""
    note(f"quantizing {len(quantization.layers)} layers to {quantization.bits} bits")
    example = [to_mlx(tensor) for tensor in subject.example.tensors]
    before = _outputs(network, example)
    quantize_modules(network, quantization.to_config())
    mx.eval(network.parameters())
    moved = [relative_error(a, b) for a, b in zip(_outputs(network, example), before, strict=True)]
    note(f"outputs move by {max(moved):.2%} of their largest magnitude")
    states = dict(subject.module.state_dict(keep_vars=True)) if subject.is_eager else {}
    modules = dict(network.named_modules())
    stored = {path: generated.tensors[f"{path}.weight"] for path in quantization.layers}
    made = [path for path, (name, axes) in stored.items() if name not in states or name in folded or axes is not None]
    if made:
        note(f"not compared once quantized: PyTorch computes the weight of {made[0]}, or its file has no parameters")
        return replace(exact, mode=f"{quantization.bits}-bit, proven before it was quantized")
    kept = {name: states[name].data for name, _ in stored.values()}
    try:
        for path, (name, _) in stored.items():
            weight = np.array(unpacked(modules[path]))
            states[name].data = torch.from_numpy(weight).to(kept[name].dtype)
        report = prove(subject, generated, network, sizes, note=note)
    finally:
        for name, value in kept.items():
            states[name].data = value
    cases = [CaseResult(f"dequantized, {case.name}", case.taps, case.alive) for case in report.cases]
    return replace(report, mode=f"{quantization.bits}-bit", cases=(*exact.cases, *cases))


def exported_function(network: nn.Module, subject: Subject) -> bytes:
    """The network for the example's sizes as MLX exports functions, run back and compared.

    Raises:
        CaptureError: MLX cannot export it, or what it exported computes something else.
    """
    arrays = [to_mlx(tensor) for tensor in subject.example.tensors]
    before = dict(tree_flatten(network.parameters()))

    def function(*given: mx.array) -> list[mx.array]:
        return [leaf for leaf in result_leaves(network(*given)) if isinstance(leaf, mx.array)]

    with tempfile.TemporaryDirectory() as room:
        path = str(Path(room) / FUNCTION)
        try:
            wanted = _outputs(network, arrays)
            network.load_weights(list(before.items()))
            with portable():
                mx.export_function(path, function, *arrays)
            imported: Any = mx.import_function(path)
            found = [np.array(value) for value in imported(*arrays)]
        except (ValueError, RuntimeError, TypeError) as error:
            raise CaptureError(f"--mlxfn: MLX cannot export this model ({error}); leave it out") from error
        finally:
            network.load_weights(list(before.items()))
        worst = max((relative_error(a, b) for a, b in zip(found, wanted, strict=True)), default=0.0)
        if not worst <= bar_of(subject).limit:
            raise CaptureError(f"--mlxfn: the exported function is off by {worst:.1e}; leave it out and report this")
        return Path(path).read_bytes()


def _outputs(network: nn.Module, arrays: list[mx.array]) -> list[np.ndarray]:
    return [np.array(leaf) for leaf in result_leaves(network(*arrays)) if isinstance(leaf, mx.array)]


def _config(
    subject: Subject, settings: CapturedConfig, network: nn.Module, quantization: Quantization | None
) -> FolderConfig:
    floats = {
        dtype_name(value.dtype)
        for value in dict(tree_flatten(network.parameters())).values()
        if mx.issubdtype(value.dtype, mx.floating)
    }
    path = subject.path
    files = [SourceFile(name=path.name, bytes=path.stat().st_size)] if path else []
    return FolderConfig(
        model_type=MODEL_TYPE,
        variant=settings.root,
        task="module",
        dtype=floats.pop() if len(floats) == 1 else "mixed",
        config=settings.dump(),
        quantization=quantization.to_config() if quantization else None,
        source=SourceRecord(kind="file" if path else "module", location=subject.origin, files=files),
        converter=Converter(version=version("pytorch-to-mlx")),
    )


CARD = """---
library_name: mlx
tags: ["mlx", "pytorch-to-mlx", "captured"]
---

# {root}, for MLX

Captured from `{origin}` by pytorch-to-mlx {version}: `model.py` is its source, `model.safetensors` its weights.

```python
from pytorch_to_mlx import load

model = load("PATH_OF_THIS_FOLDER")  # takes {inputs}
```
{function}
{notes}
## Parity

<!-- parity -->
<!-- end of parity -->
"""
FUNCTION_TOLD = """
`model.mlxfn` is the same for the example's sizes, for `mx.import_function` and MLX in C++ (docs/capture.md).
"""


def card(config: FolderConfig, settings: CapturedConfig, report: ParityReport, mlxfn: bool) -> str:
    """README.md of a captured folder."""
    taken = ", ".join(f"{each.name} ({', '.join(map(str, each.shape))}) {each.dtype}" for each in settings.inputs)
    notes = "".join(f"\n- {each}" for each in settings.notes)
    text = CARD.format(
        root=settings.root,
        origin=config.source.location.replace("`", "'"),
        version=config.converter.version,
        inputs=taken,
        function=FUNCTION_TOLD if mlxfn else "",
        notes=notes and f"{notes}\n",
    )
    return with_parity(text, report.markdown())
