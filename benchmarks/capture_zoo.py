"""How much of a model zoo `capture` gets right, and how fast the result is against PyTorch.

Each model is captured in a process of its own, proven as `pytorch-to-mlx capture` proves it, and timed in the same run:
PyTorch in eager mode against the captured network under `mx.compile`. Models run in the environment `capture-zoo`
(built when it is not there) with this Python's MLX beside it, or in `--python`.

    python benchmarks/capture_zoo.py --update-docs                                    # the zoo: docs/capture-zoo.md
    python benchmarks/capture_zoo.py --zoo benchmarks/capture_speed.py --update-docs  # sizes that take a while
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import beside

ZOO = Path(__file__).parents[2] / "shared" / "zoo" / "zoo.py"
DOCS = Path(__file__).parents[1] / "docs"
BAR = 1e-4
TITLE = """# {title}

Written by `benchmarks/capture_zoo.py{options} --update-docs`. Error: the largest of any output in any case, over its
largest magnitude. Sensitivity: how far outputs move with other inputs. Speed: PyTorch's median time over that of the
captured network under `mx.compile`, in turns in one process, each with {threads} threads. Captured: torch could trace
it; generated: its source was written. Sizes: inputs compared, of other sizes too; nodes: operations of the traced
graph; seconds: of capture and proof. A cause beside a model that holds is a note of what is taken for granted.

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
    parser.add_argument("--update-docs", action="store_true", help="write the table into docs/capture-NAME.md")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--list", action="store_true", help="print the names of the models that can be built here")
    parser.add_argument("--python", help="an interpreter that has what the models need")
    options = parser.parse_args()
    if options.list:
        zoo = zoo_of(options.zoo)
        print(json.dumps(list(zoo.available() if hasattr(zoo, "available") else zoo.MODELS)))
        return
    if options.one:
        beside.enter()
        print(json.dumps(measured(options.zoo, options.one, options.rounds)))
        return
    results = []
    for name in options.models or in_environment(options, ["--list"]):
        results.append(result_of(name, options))
        print(line(results[-1]), flush=True)
    print(totals(results))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    if options.update_docs:
        (DOCS / f"capture-{options.zoo.stem.removeprefix('capture_')}.md").write_text(document(results, options.zoo))


def zoo_of(path: Path) -> Any:
    """The zoo's module."""
    if not path.is_file():
        sys.exit(f"{path}: no such file; name a zoo with --zoo FILE")
    spec = importlib.util.spec_from_file_location("zoo", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["zoo"] = module
    spec.loader.exec_module(module)
    if hasattr(module, "import_vision_and_audio"):
        module.import_vision_and_audio()
    return module


def in_environment(options: argparse.Namespace, arguments: list[str], timeout: float | None = None) -> Any:
    """What this script prints with those arguments where the models can be built."""
    from pytorch_to_mlx import environments

    python = options.python or environments.install(environments.get("capture-zoo"))
    command = [__file__, "--zoo", str(options.zoo), *arguments]
    return beside.last_line(python, command, [environments.SCRIPTS.parents[1]], timeout)


def result_of(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One model's result, from a process that may fail or take too long."""
    start = time.monotonic()
    try:
        return in_environment(options, ["--one", name, "--rounds", str(options.rounds)], options.timeout)
    except (RuntimeError, TimeoutError, json.JSONDecodeError) as error:
        return {"model": name, "cause": str(error), "seconds": time.monotonic() - start}


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
    for turn in range(rounds + 1):
        for function, taken in times.items():
            for again in range(3):
                start = time.perf_counter()
                function()
                if (
                    turn and again
                ):  # the first calls compile; each turn's first meets the other library's waiting threads
                    taken.append(time.perf_counter() - start)
    ours_time, theirs_time = (sorted(times[each])[rounds] for each in (ours, theirs))
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
        re.sub(r"\S*/site-packages/", "", result.get("cause") or "; ".join(result.get("notes", ()))),
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
    least = min(speeds, default=math.nan)
    captured, generated = (sum(bool(result.get(stage)) for result in results) for stage in ("captured", "generated"))
    return (
        f"{sum(map(holds, results))} of {len(results)} within {BAR:g}; {captured} captured, {generated} generated; "
        f"speed {mean:.2f} x PyTorch (geometric mean), {least:.2f} x the least"
    )


def document(results: list[dict[str, Any]], zoo: Path) -> str:
    """The page of the docs."""
    title = "Speed of captured models" if zoo != ZOO else "The zoo that capture is measured on"
    options = f" --zoo {zoo}" if zoo != ZOO else ""
    rows = [HEAD, ("---",) * len(HEAD), *(tuple(c.replace("|", "\\|") for c in cells(r)) for r in results)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return TITLE.format(title=title, options=options, threads=os.cpu_count()) + f"{table}\n\n{totals(results)}.\n"


if __name__ == "__main__":
    main()
