"""What `inspect` shows of a PyTorch module."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytorch_to_mlx.capture.analysis import Analysis


def show(file: Path | None, module: str | None, inputs: str | None, *, as_json: bool) -> None:
    """Print the analysis of what the flags name."""
    from pytorch_to_mlx.checkpoint.torch_pickles import require_torch
    from pytorch_to_mlx.cli.capture import named_subject

    require_torch("capturing a model")
    from pytorch_to_mlx.capture.analysis import analyse

    found = analyse(named_subject(file, module, inputs))
    if as_json:
        import dataclasses
        import json

        print(json.dumps(dataclasses.asdict(found) | {"memory_bytes": found.memory_bytes}, indent=2))
        return
    for line in _lines(found):
        print(line)


def _lines(found: Analysis) -> list[str]:
    from pytorch_to_mlx.cli.output import size_text, table

    modules = [
        (f"{'  ' * _depth(row.path)}{row.path or '(model)'}", row.kind, f"{row.parameters:,}") for row in found.modules
    ]
    missing = {each.operator: each for each in found.unsupported}
    operators = [
        (name, str(count), "yes" if name not in missing else f"no: {missing[name].primitive or 'not yet'}")
        for name, count in found.operators.items()
    ]
    lines = [
        table(modules, ("MODULE", "CLASS", "PARAMETERS")),
        "",
        table(operators, ("OPERATOR", "USES", "SUPPORTED")),
        "",
    ]
    for each in found.unsupported:
        lines += [f"! {each.operator} at {line}" for line in each.lines] or [f"! {each.operator}"]
    for each in found.inputs:
        lines.append(f"input {each.name}: ({', '.join(map(str, each.shape))}) {each.dtype}")
    dynamic = sorted({size for each in found.inputs for size in each.shape if isinstance(size, str)})
    lines.append(f"dynamic: {', '.join(dynamic) or 'none'}")
    lines += [f"note: {note}" for note in found.notes]
    lines.append(
        f"{found.parameters:,} numbers stored, {size_text(found.weight_bytes)}; "
        f"about {size_text(found.memory_bytes)} of memory in MLX for the example"
    )
    return lines


def _depth(path: str) -> int:
    return path.count(".") + 1 if path else 0
