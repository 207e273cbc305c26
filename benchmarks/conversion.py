"""What conversion costs: wall time beside `cp` of the same bytes, memory beside the largest tensor.

    python benchmarks/conversion.py [--size-gb 4] [--rounds 3] [--without-mlx-lm] [--work FOLDER] [--update-docs]

Everything is measured in one run, in turns, each in a fresh process. It needs about four times the size on disk.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from measure import Measurement, measure
from synthetic import LlamaShape
from table import Row, Section, update

from pytorch_to_mlx import environments
from pytorch_to_mlx.checkpoint import open_checkpoint

HERE = Path(__file__).parent
OURS = Path(sys.executable)
DISK_NEEDED = 4.5


@dataclass(frozen=True)
class Contender:
    """Who does what: `work` is child.py's word for it. `keep` its `target` for what comes after the last round."""

    name: str
    python: Path
    work: str
    source: Path
    target: Path
    keep: bool = True


def sections(work: Path, shape: LlamaShape, rounds: int, mlx_lm: Path | None) -> Iterator[Section]:
    """Convert from safetensors and from .bin, then load what was converted."""
    largest = ("largest tensor", shape.largest_bytes)
    ours, ours_q, theirs, theirs_q = (work / name for name in ("ours", "ours-q", "mlx-lm", "mlx-lm-q"))
    with checkpoint(work, shape, "safetensors") as source:
        contenders = [
            Contender("cp", OURS, "copy", source, work / "copy", keep=False),
            Contender("pytorch-to-mlx", OURS, "convert", source, ours),
            Contender("pytorch-to-mlx -q", OURS, "convert -q", source, ours_q),
        ]
        if mlx_lm:
            contenders += [
                Contender("mlx_lm.convert", mlx_lm, "mlx_lm convert", source, theirs),
                Contender("mlx_lm.convert -q", mlx_lm, "mlx_lm convert -q", source, theirs_q),
            ]
        yield Section("convert safetensors", compare(contenders, rounds), *largest)
        check_same(source, ours)
        if mlx_lm:
            check_same(theirs_q, ours_q)
    with checkpoint(work, shape, "bin") as source:
        contenders = [
            Contender("cp", OURS, "copy", source, work / "copy", keep=False),
            Contender("pytorch-to-mlx", OURS, "convert", source, work / "ours-bin"),
        ]
        yield Section("convert .bin", compare(contenders, rounds), *largest)
        check_same(ours, work / "ours-bin")
        shutil.rmtree(work / "ours-bin")
    nothing = work / "nothing"
    contenders = [
        Contender("read", OURS, "read", ours, nothing),
        Contender("pytorch-to-mlx", OURS, "load", ours, nothing),
    ]
    if mlx_lm:
        contenders.append(Contender("mlx_lm.load_model", mlx_lm, "mlx_lm load", theirs, nothing))
    yield Section("load", compare(contenders, rounds), "bytes of the weights", shape.bytes)


@contextmanager
def checkpoint(work: Path, shape: LlamaShape, kind: str) -> Iterator[Path]:
    """A synthetic checkpoint, removed at the end."""
    folder = work / kind
    command = [sys.executable, str(HERE / "synthetic.py"), str(folder), json.dumps(asdict(shape)), kind]
    subprocess.run(command, check=True)
    yield folder
    shutil.rmtree(folder)


def compare(contenders: Sequence[Contender], rounds: int) -> list[Row]:
    """Measure the contenders in turns."""
    found: dict[str, list[Measurement]] = {one.name: [] for one in contenders}
    for number in range(1, rounds + 1):
        for one in contenders:
            found[one.name].append(measure(one.python, one.work, one.source, one.target))
            print(f"{one.work:<20} {one.source.name:<12} {found[one.name][-1]}", file=sys.stderr)
            if one.target.exists() and not (one.keep and number == rounds):
                shutil.rmtree(one.target)
    tools = ("copy", "read")
    return [Row(one.name, found[one.name], counts_memory=one.work not in tools) for one in contenders]


def check_same(wanted: Path, written: Path) -> None:
    """Stop unless both folders hold the same tensors, bit for bit."""
    with open_checkpoint(wanted) as one, open_checkpoint(written) as other:
        if set(one) != set(other):
            raise SystemExit(f"{written} holds other tensors than {wanted}: {sorted(set(one) ^ set(other))[:5]}")
        for name in one:
            a, b = one.read(name), other.read(name)
            if (a.dtype, a.shape) != (b.dtype, b.shape) or not np.array_equal(bits(a), bits(b)):
                raise SystemExit(f"{written} holds another {name} than {wanted}")


def bits(array: np.ndarray) -> np.ndarray:
    """An array's bytes."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def surroundings(shape: LlamaShape) -> str:
    """What was converted, and where, in one line."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return (
        f"{shape.bytes / 1e9:.2f} GB of bfloat16 in {len(shape.tensors())} tensors, the largest of "
        f"{shape.largest_bytes / 1e6:.0f} MB; {platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"{memory:.0f} GB of memory; Python {platform.python_version()}, MLX {version('mlx')}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size-gb", type=float, default=4.0, help="size of the checkpoint in 10^9 bytes")
    parser.add_argument("--rounds", type=int, default=3, help="how often each contender is measured")
    parser.add_argument("--without-mlx-lm", action="store_true", help="leave out mlx_lm and its environment")
    parser.add_argument("--work", type=Path, default=HERE / "output", help="the folder (so the disk) to work in")
    parser.add_argument("--update-docs", action="store_true", help="put the tables into docs/benchmarks.md")
    options = parser.parse_args(arguments)

    needed = DISK_NEEDED * options.size_gb
    options.work.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(options.work).free < needed * 1e9:
        parser.error(f"{options.work} has not the {needed:.0f} GB that are needed: try --work or a smaller --size-gb")
    shape = LlamaShape.of(options.size_gb * 1e9)
    mlx_lm = None if options.without_mlx_lm else environments.install(environments.get("mlx-lm"))
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(dir=options.work, prefix="conversion-") as work:
        found = list(sections(Path(work), shape, options.rounds, mlx_lm))
    about = f"{surroundings(shape)}; load average {load:.1f} before and {os.getloadavg()[0]:.1f} after"
    report = "\n\n".join([f"{about}. Medians of {options.rounds} rounds.", *(section.markdown() for section in found)])
    print(report)
    output = HERE / "output/conversion.json"
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps({"about": about, "sections": [asdict(section) for section in found]}, indent=2))
    if options.update_docs:
        update(HERE.parent / "docs/benchmarks.md", Path(__file__).name, report)


if __name__ == "__main__":
    main()
