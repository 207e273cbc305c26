"""What the benchmarks of single stages share: arguments, models, processes, rounds."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from speech_report import Findings

from pytorch_to_mlx import environments, registry
from pytorch_to_mlx.benchmark.contender import Contender
from pytorch_to_mlx.benchmark.contenders.serving import Setting
from pytorch_to_mlx.benchmark.machine import cores
from pytorch_to_mlx.benchmark.process import Child, all_started
from pytorch_to_mlx.benchmark.workload import default
from pytorch_to_mlx.conversion import convert

HERE = Path(__file__).parent


def arguments(
    doc: str | None, known: Mapping[str, Contender], *, rounds: int, least: int = 1
) -> tuple[argparse.ArgumentParser, Callable[[Sequence[str] | None], argparse.Namespace]]:
    """A parser of what all take, to add to, and what parses with it and refuses what makes no sense."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="a folder as upstream's repository has it; else a seeded one")
    parser.add_argument("--rounds", type=int, default=rounds, help=f"how often each stage is measured; {least} or more")
    parser.add_argument("--contenders", type=listed, default=list(known), help=", ".join(known))
    parser.add_argument("--threads", type=int, default=cores(), help="for each contender")
    parser.add_argument("--work", type=Path, default=HERE / "output", help="where converted models lie meanwhile")
    parser.add_argument("--update-docs", action="store_true", help="put the tables into docs/benchmarks.md")

    def parse(given: Sequence[str] | None) -> argparse.Namespace:
        options = parser.parse_args(given)
        refuse_unknown(parser, "--contenders", options.contenders, known)
        if options.rounds < least:
            parser.error(f"--rounds must be {least} or more")
        if options.checkpoint and not options.checkpoint.is_dir():
            parser.error(f"{options.checkpoint}: no such folder")
        return options

    return parser, parse


def listed(text: str) -> list[str]:
    """What stands between commas."""
    return text.split(",")


def refuse_unknown(parser: argparse.ArgumentParser, flag: str, given: Sequence[str], known: Collection[str]) -> None:
    """End with the usage where something is given that there is not."""
    if unknown := sorted(set(given) - set(known)):
        parser.error(f"{flag} {', '.join(unknown)}: there are {', '.join(known)}")


@contextmanager
def models(
    known: Mapping[str, Contender], options: argparse.Namespace, port: str, variant: str
) -> Iterator[dict[Contender, Path]]:
    """What each contender that was asked for loads, of one checkpoint, in float32."""
    options.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.work, prefix=f"{port}-") as drafts:
        checkpoint: Path = options.checkpoint or Path(drafts) / "checkpoint"
        if options.checkpoint is None:
            note("writes a seeded checkpoint")
            exported = ["export", "--variant", variant, "--seed", "0", "--out", str(checkpoint)]
            environments.run_script(registry.get(port).reference.script, exported)
        found = {}
        for name in options.contenders:
            note(f"{known[name].name}: gets its files")
            folder = Path(drafts) / name
            if name == "ours":
                convert(checkpoint, folder, port=port, variant=variant, dtype="float32")
                found[known[name]] = folder
            else:
                found[known[name]] = known[name].files(checkpoint, folder, "float32")
        yield found


@contextmanager
def started(
    folders: Mapping[Contender, Path], prompt: Path | None, text: str, threads: int, port: str, variant: str
) -> Iterator[dict[Contender, Child]]:
    """The contenders' processes, told what the verb `benchmark` tells them of its default workload."""
    choice = default("text to speech").choice(port, variant)
    said = REF_TEXT if choice.continues else ""
    told: dict[str, Any] = {"prompt": str(prompt or ""), "prompt_text": said, "options": choice.options}
    settings = {
        contender: Setting(str(folder), text=text, threads=threads, exact=True, **told)
        for contender, folder in folders.items()
    }
    note(f"{', '.join(each.name for each in settings)}: load")
    with all_started(settings) as children:
        yield children


REF_TEXT = "The quick brown fox jumps over the lazy dog."
"""What the prompt is taken to say, for models that go on from it."""


def turns(
    findings: Findings,
    children: Mapping[Contender, Child],
    rounds: int,
    stages: Sequence[str],
    measure: Callable[[Child, Contender, str], Mapping[str, float]],
    before: Callable[[], None] = lambda: None,
) -> None:
    """Every stage of every contender, in turns: seconds by row. `before` is called before each stage."""
    for number in range(1, rounds + 1):
        for stage in stages:
            before()
            for contender, child in children.items():
                for row, seconds in measure(child, contender, stage).items():
                    findings.stages.setdefault(row, {}).setdefault(contender.name, []).append(seconds)
                    note(f"round {number}: {contender.name}: {row} {seconds:.3f} s")


def bandwidth(threads: int) -> float:
    """Bytes a second that memory is read with, the best of a few, by numpy in as many threads."""
    parts = np.split(np.ones(threads << 25, np.float32), threads)
    taken = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(5):
            begun = time.perf_counter()
            list(pool.map(np.max, parts))  # what waits for memory alone: a sum computes longer than it reads
            taken.append(time.perf_counter() - begun)
    return sum(part.nbytes for part in parts) / min(taken)


def note(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
