"""How much of a model zoo `capture` gets right, and how fast the result is against PyTorch.

Each model is captured in a process of its own, proven as `pytorch-to-mlx capture` proves it, and timed in the same run:
PyTorch in eager mode against the captured network under `mx.compile`. It wants a Python that has this package with its
`dev` extra, and what the zoo's models need, which the zoo's file says.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ZOO = Path(__file__).parents[2] / "shared" / "zoo" / "zoo.py"
DOCS = Path(__file__).parents[1] / "docs" / "capture-zoo.md"
BAR = 1e-4
TITLE = """# The zoo that capture is measured on

Written by `benchmarks/capture_zoo.py --update-docs`. Error: the largest of any output in any of the cases, over its
largest magnitude. Sensitivity: how far outputs move with other inputs. Speed: PyTorch's median time over that of the
captured network under `mx.compile`, in turns in one process.

"""
HEAD = (
    "model",
    "captured",
    "generated",
    "error",
    "sensitivity",
    "sizes",
    "nodes",
    "lines",
    "seconds",
    "speed",
    "cause",
)


def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(description="How much of a model zoo capture gets right, and how fast.")
    parser.add_argument("models", nargs="*", help="names; all of the zoo if none is given")
    parser.add_argument(
        "--zoo", type=Path, default=ZOO, help="a file with MODELS: name -> builder of (module, args, kwargs)"
    )
    parser.add_argument("--timeout", type=float, default=300, help="seconds for each model")
    parser.add_argument("--rounds", type=int, default=5, help="of each timing; 0 times nothing")
    parser.add_argument("--json", type=Path, help="write the results here too")
    parser.add_argument("--update-docs", action="store_true", help=f"write the table into {DOCS.name}")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--list", action="store_true", help="print the names of the models that can be built here")
    options = parser.parse_args()
    if options.list:
        zoo = zoo_of(options.zoo)
        print("\n".join(zoo.available() if hasattr(zoo, "available") else zoo.MODELS))
        return
    if options.one:
        print(json.dumps(measured(options.zoo, options.one, options.rounds)))
        return
    names = options.models or available(options.zoo)
    results = []
    for name in names:
        results.append(in_process(name, options))
        print(line(results[-1]), flush=True)
    print(totals(results))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    if options.update_docs:
        DOCS.write_text(TITLE + document(results), encoding="utf-8")


def zoo_of(path: Path) -> Any:
    """The zoo's module."""
    spec = importlib.util.spec_from_file_location("zoo", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["zoo"] = module
    spec.loader.exec_module(module)
    if hasattr(module, "import_vision_and_audio"):
        module.import_vision_and_audio()
    return module


def available(path: Path) -> list[str]:
    """The names of the models that can be built here, in a process that ends."""
    command = [sys.executable, __file__, "--list", "--zoo", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def in_process(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One model's result, from a process that may fail or take too long."""
    command = [sys.executable, __file__, "--one", name, "--zoo", str(options.zoo), "--rounds", str(options.rounds)]
    start = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=options.timeout, check=False)
        lines = done.stdout.strip().splitlines()
        result = json.loads(lines[-1]) if done.returncode == 0 and lines else None
        cause = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    except subprocess.TimeoutExpired:
        result, cause = None, f"took more than {options.timeout:g} s"
    except json.JSONDecodeError as error:
        result, cause = None, f"printed no result ({error})"
    return result or {"model": name, "cause": cause, "seconds": time.monotonic() - start}


def measured(path: Path, name: str, rounds: int) -> dict[str, Any]:
    """Capture, prove and time one model."""
    from pytorch_to_mlx.capture.package import capture
    from pytorch_to_mlx.capture.proof import to_mlx
    from pytorch_to_mlx.capture.subject import subject_of
    from pytorch_to_mlx.errors import PytorchToMlxError

    os.environ["PYTORCH_TO_MLX_TRUSTED"] = os.devnull
    module, args, kwargs = zoo_of(path).MODELS[name]()
    subject = subject_of(module, tuple(args), kwargs, origin=f"zoo:{name}")
    start = time.monotonic()
    stages: list[str] = []
    result: dict[str, Any] = {"model": name, "captured": False, "generated": False, "cause": ""}
    with tempfile.TemporaryDirectory() as room:
        try:
            made = capture(subject, Path(room) / "made", note=stages.append)
        except PytorchToMlxError as error:
            result["captured"] = "writing the source" in stages
            result["generated"] = any(stage.startswith("comparing") for stage in stages)
            result["cause"] = " ".join(str(error).split())[:400]
            return result | {"seconds": time.monotonic() - start}
    result |= {"captured": True, "generated": True, "seconds": time.monotonic() - start}
    cases = made.report.cases
    outputs = [tap for case in cases for tap in case.taps if tap.name.startswith("output")]
    result["error"] = max(tap.error if tap.kind == "relative" else float(tap.error > 0) for tap in outputs)
    result["sensitivity"] = cases[1].alive["sensitivity"]
    result["cases"] = len(cases)
    result["taps"] = sum(len(case.taps) for case in cases)
    result["passed"] = made.report.passed
    if not made.report.passed:
        result["cause"] = made.report.summary()
    result["notes"] = list(made.settings.notes)
    result["nodes"] = made.nodes
    result["lines"] = made.generated.source.count("\n")
    if rounds:
        arrays = [to_mlx(tensor) for tensor in subject.example.tensors]
        result["speed"], result["milliseconds"] = speed(subject, made.network, arrays, rounds)
    return result


def speed(subject: Any, network: Any, arrays: list, rounds: int) -> tuple[float, float]:
    """PyTorch's median time over that of the network under `mx.compile`, taken in turns; and PyTorch's, in ms."""
    import mlx.core as mx
    import torch

    mutable = network.state
    compiled = mx.compile(network, inputs=mutable, outputs=mutable)

    def ours() -> None:
        mx.eval(compiled(*arrays), mutable)

    def theirs() -> None:
        with torch.no_grad():
            subject.module(*subject.args, **subject.kwargs)

    times: dict[Any, list[float]] = {ours: [], theirs: []}
    for turn in range(rounds + 2):
        for function, taken in times.items():
            start = time.perf_counter()
            function()
            if turn > 1:  # the first calls compile
                taken.append(time.perf_counter() - start)
    ours_time, theirs_time = (sorted(times[each])[rounds // 2] for each in (ours, theirs))
    return theirs_time / ours_time, 1000 * theirs_time


def cells(result: dict[str, Any]) -> tuple[str, ...]:
    """A result as a row of the table."""
    mark = {True: "yes", False: "no"}
    return (
        result["model"],
        mark[bool(result.get("captured"))],
        mark[bool(result.get("generated"))],
        f"{result['error']:.1e}" if "error" in result else "-",
        f"{result['sensitivity']:.2g}" if "sensitivity" in result else "-",
        str(result.get("cases", "-")),
        str(result.get("nodes", "-")),
        str(result.get("lines", "-")),
        f"{result['seconds']:.0f}",
        f"{result['speed']:.2f}" if "speed" in result else "-",
        result.get("cause") or "; ".join(result.get("notes", ())),
    )


def line(result: dict[str, Any]) -> str:
    """A row for the terminal."""
    widths = (24, 4, 4, 8, 7, 3, 6, 6, 5, 6, 0)
    return " ".join(cell.ljust(width) for cell, width in zip(cells(result), widths, strict=True)).rstrip()


def holds(result: dict[str, Any]) -> bool:
    """Whether every output is within the bar, and the control was noticed."""
    return bool(result.get("passed")) and result.get("error", math.inf) <= BAR


def totals(results: list[dict[str, Any]]) -> str:
    """All of them, failures of the capture in the denominator."""
    speeds = [result["speed"] for result in results if "speed" in result]
    mean = math.exp(sum(map(math.log, speeds)) / len(speeds)) if speeds else math.nan
    captured, generated = (sum(bool(result.get(stage)) for result in results) for stage in ("captured", "generated"))
    return (
        f"{sum(map(holds, results))} of {len(results)} within {BAR:g}; {captured} captured, {generated} generated; "
        f"speed {mean:.2f} x PyTorch (geometric mean)"
    )


def document(results: list[dict[str, Any]]) -> str:
    """The table for the docs."""
    rows = [HEAD, ("---",) * len(HEAD), *(tuple(c.replace("|", "\\|") for c in cells(r)) for r in results)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + f"\n\n{totals(results)}.\n"


if __name__ == "__main__":
    main()
