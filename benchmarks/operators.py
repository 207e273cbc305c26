"""Which of ATen's operators become MLX, how, and whether a test covers them.

    python benchmarks/operators.py [--update-docs]

Prints a table, ATen's core set first; with --update-docs writes docs/operators.md. An operator is covered if a sample
that tests/capture/test_operators.py runs has it in its program.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from pytorch_to_mlx.capture.clean import operator_name
from pytorch_to_mlx.capture.decompose import decompositions
from pytorch_to_mlx.capture.operators import INEXPRESSIBLE, LOWERINGS

ROOT = Path(__file__).resolve().parent.parent
REWRITTEN = ("aten._native_batch_norm_legit_no_training.default",)  # before lowering, by capture/clean.py
SUPPORTED, DECOMPOSED, NOT_YET = "supported", "by torch's own decomposition", "not yet"
TRAINING = "training only"
SIZES = "a size, known when the source is written"
DRAWN = "supported; MLX draws other numbers than torch"
RANDOM = ("rand", "bernoulli", "multinomial", "normal", "uniform", "exponential", "cauchy", "geometric", "log_normal")
SAMPLES = 2  # of each entry of the database: all of them hold the same operators, but for a few
# Sets of operators that no captured program holds: of other backends, of optimizers, of lists, of sparse tensors.
ELSEWHERE = ("_", "cudnn", "miopen", "mkldnn", "mps", "fbgemm", "quantized", "q_", "sparse", "to_mkldnn", "sym_")


@dataclass(frozen=True)
class Row:
    """One operator, with the overloads that have one status."""

    operator: str
    overloads: tuple[str, ...]
    status: str
    covered: bool


def overloads() -> Iterator[torch._ops.OpOverload]:
    """Every functional operator of ATen."""
    for name in dir(torch.ops.aten):
        packet = getattr(torch.ops.aten, name)
        if isinstance(packet, torch._ops.OpOverloadPacket):
            for overload in packet.overloads():
                operator = getattr(packet, overload)
                if not operator._schema.is_mutable and "out" not in overload and "Dimname" not in str(operator._schema):
                    yield operator


def is_core(operator: torch._ops.OpOverload) -> bool:
    """Whether it is of ATen's core set."""
    return torch.Tag.core in operator.tags


def status(operator: torch._ops.OpOverload) -> str:
    """How the operator becomes MLX."""
    name = str(operator)
    packet = name.split(".")[1]
    if name in LOWERINGS or name in REWRITTEN:
        return DRAWN if packet.startswith(RANDOM) or packet in ("dropout", "native_dropout") else SUPPORTED
    if name in INEXPRESSIBLE:
        return f"MLX lacks {INEXPRESSIBLE[name]}"
    if "backward" in packet:
        return TRAINING
    if packet.startswith("sym_"):
        return SIZES
    return DECOMPOSED if operator in decompositions() else NOT_YET


def rows(operators: Iterable[torch._ops.OpOverload], covered: set[str]) -> list[Row]:
    """The table's rows: overloads of one status together."""
    groups: dict[tuple[str, str, bool], list[str]] = {}
    for operator in operators:
        _, packet, overload = str(operator).split(".")
        groups.setdefault((packet, status(operator), str(operator) in covered), []).append(overload)
    return [Row(packet, tuple(names), how, tested) for (packet, how, tested), names in sorted(groups.items())]


def covered_operators() -> set[str]:
    """What the programs of the tested samples hold, and what torch decomposes of them."""
    sys.path.insert(0, str(ROOT / "tests" / "capture"))
    from operator_cases import program_of_function
    from operator_samples import DTYPES, EXCEPTIONS, chosen, identifier
    from torch.testing._internal.common_methods_invocations import op_db

    found: set[str] = set()
    decomposed = {str(operator).split(".")[1]: str(operator) for operator in decompositions()}
    for info in op_db:
        dtypes = [dtype for dtype in DTYPES if dtype in info.dtypes][:1]
        for dtype in dtypes if identifier(info) not in EXCEPTIONS else ():
            if info.aten_name in decomposed:
                found.add(decomposed[info.aten_name])
            for _, sample in islice(chosen(info, dtype), SAMPLES):
                args = [sample.kwargs, sample.input, *sample.args]
                try:
                    program = program_of_function(lambda kwargs, *args, op=info.op: op(*args, **kwargs), args)
                except Exception:  # torch cannot trace it
                    break
                found |= {operator_name(node) for node in program.graph.nodes if node.op == "call_function"}
    return found


def table(listed: list[Row]) -> list[str]:
    """As Markdown."""
    lines = ["| Operator | Overloads | Status | Tested |", "|---|---|---|---|"]
    for row in listed:
        names = ", ".join(row.overloads)
        lines.append(f"| {row.operator} | {names} | {row.status} | {'yes' if row.covered else ''} |")
    return lines


def counted(listed: list[Row]) -> str:
    """How many overloads have each status."""
    counts: dict[str, int] = {}
    for row in listed:
        kind = "inexpressible" if row.status.startswith("MLX lacks") else row.status
        counts[kind] = counts.get(kind, 0) + len(row.overloads)
    return "; ".join(f"{kind}: {count}" for kind, count in sorted(counts.items(), key=lambda item: -item[1]))


def document() -> str:
    """docs/operators.md."""
    covered = covered_operators()
    operators = list(overloads())
    core = rows(filter(is_core, operators), covered)
    others = rows(
        (each for each in operators if not is_core(each) and (str(each) in LOWERINGS or _is_public(each))), covered
    )
    return "\n".join(
        [
            "# Operators",
            "",
            "What becomes of each functional operator of ATen, written by",
            "`python benchmarks/operators.py --update-docs`",
            f"with torch {torch.__version__.partition('+')[0]}. Operators in place become functional before they are",
            "looked up. Where there is no lowering, and torch itself writes the operator in terms of others, those are",
            "taken. Backward operators are for training, which is not captured. Noise is an input of a model here:",
            "what a network draws itself is drawn by MLX, with other values than torch's. *Tested*: a sample of",
            "torch's operator database that `tests/capture/test_operators.py` runs holds it.",
            "",
            f"## Core ATen ({sum(len(row.overloads) for row in core)} overloads)",
            "",
            f"{counted(core)}.",
            "",
            *table(core),
            "",
            f"## Others ({sum(len(row.overloads) for row in others)} overloads)",
            "",
            f"{counted(others)}.",
            "",
            *table(others),
            "",
        ]
    )


def _is_public(operator: torch._ops.OpOverload) -> bool:
    packet = str(operator).split(".")[1]
    return not packet.startswith(ELSEWHERE) and "backward" not in packet and "Tensor" in str(operator._schema)


def main() -> None:
    """Print the table, or write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update-docs", action="store_true", help="write docs/operators.md")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    text = document()
    if options.update_docs:
        (ROOT / "docs" / "operators.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
