"""`capture`: any PyTorch module becomes MLX source with the proof that it computes the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pytorch_to_mlx.capture.package import Captured
    from pytorch_to_mlx.capture.subject import Subject

ModuleOption = Annotated[
    str | None,
    typer.Option(metavar="PACKAGE.MODULE:FACTORY|FILE", help="A function that returns (module, args, kwargs)."),
]
InputsOption = Annotated[
    str | None,
    typer.Option(metavar="NPZ|MODULE:FUNCTION", help="An example of a file's inputs: arrays, or what returns them."),
]


def command(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="A .pt2 of torch.export, TorchScript or ONNX; of an installed package: package:NAME/FILE.",
        ),
    ] = None,
    module: ModuleOption = None,
    inputs: InputsOption = None,
    quantize: Annotated[
        bool, typer.Option("--quantize", "-q", help="Quantize linear layers and embeddings, once they are proven.")
    ] = False,
    q_bits: Annotated[int | None, typer.Option(help="Bits per weight with -q; 4 if not given.")] = None,
    q_group_size: Annotated[
        int | None, typer.Option(help="Weights that share a scale with -q; 64 if not given.")
    ] = None,
    static: Annotated[bool, typer.Option("--static", help="Keep every size as in the example.")] = False,
    mlxfn: Annotated[
        bool, typer.Option("--mlxfn", help="Write model.mlxfn too, which MLX runs in C++, Swift or Python.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing model folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
) -> None:
    """Write MLX source for a PyTorch module, with its weights, and compare both: outputs at several sizes, each
    submodule's output, and perturbed weights, which the comparison must notice. Exit status 1: they differ.

    A factory returns the module with an example of its inputs; it is found from the working directory too.

    Examples:

      pytorch-to-mlx capture --module mymodel:example -o mymodel-mlx

      pytorch-to-mlx capture --module mymodel:example -o mymodel-4bit -q --mlxfn

      pytorch-to-mlx capture detector.onnx -o detector-mlx --inputs example.npz
    """
    from pytorch_to_mlx.checkpoint.torch_pickles import require_torch
    from pytorch_to_mlx.cli.output import note

    require_torch("capturing a model")
    from pytorch_to_mlx.capture.package import capture

    made = capture(
        named_subject(file, module, inputs),
        output,
        dynamic=not static,
        quantize=quantize,
        q_bits=q_bits,
        q_group_size=q_group_size,
        mlxfn=mlxfn,
        force=force,
        note=note,
    )
    if as_json:
        import json

        print(json.dumps(_fields(made), indent=2))
    else:
        for line in made.settings.notes:
            note(line)
        lines = made.generated.source.count("\n")
        print(f"{made.settings.root} -> {made.folder}: model.py has {lines} lines for {made.nodes} operations")
        print(made.report.summary())
    if not made.report.passed:
        raise typer.Exit(1)


def named_subject(file: Path | None, module: str | None, inputs: str | None) -> Subject:
    """What the flags name."""
    from pytorch_to_mlx import environments
    from pytorch_to_mlx.capture.subject import from_factory, from_file
    from pytorch_to_mlx.errors import UsageError
    from pytorch_to_mlx.hub import package_file

    if (file is None) == (module is None):
        raise UsageError("name either a file, or --module package.module:factory")
    if module is not None and Path(module).is_file():
        file = Path(module)
    if file is not None:
        if str(file).startswith("package:"):
            file = package_file(str(file), environments.search_paths())
        return from_file(file, inputs)
    if inputs is not None:
        raise UsageError("--inputs is for files; the factory of --module returns the inputs too")
    assert module is not None
    return from_factory(module)


def _fields(made: Captured) -> dict:
    taps = [tap for case in made.report.cases for tap in case.taps if tap.kind == "relative"]
    return {
        "folder": str(made.folder),
        "class": made.settings.root,
        "inputs": [{"name": each.name, "shape": each.shape, "dtype": each.dtype} for each in made.settings.inputs],
        "passed": made.report.passed,
        "summary": made.report.summary(),
        "mode": made.report.mode,
        "cases": [case.name for case in made.report.cases],
        "largest_relative_error": max((tap.error for tap in taps), default=0.0),
        "first_divergence": next((c.first_divergence for c in made.report.cases if c.first_divergence), None),
        "controls": made.report.controls.perturbed if made.report.controls else 0,
        "operations": made.nodes,
        "lines": made.generated.source.count("\n"),
        "notes": made.settings.notes,
        "unused": made.settings.unused,
    }
