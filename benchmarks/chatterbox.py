"""What speech costs: Chatterbox here, in upstream's PyTorch and in mlx-audio, stage by stage, on the same weights.

    python benchmarks/chatterbox.py [--checkpoint FOLDER] [--tokens 100] [--rounds 2] [--update-docs]
    python benchmarks/chatterbox.py --contenders ours --only flow      # one stage, on made-up input
    python benchmarks/chatterbox.py --contenders ours --rounds 0 --growth --memory

Each contender is a process of its own, loaded once; then all work in turns. The stages are stretches of one synthesis
through each contender's public function, which is made to stop after so many speech tokens. English, float32. It needs
about 16 GB of memory and 10 GB of disk.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from chatterbox_report import FIRST, MLX_AUDIO, OURS, TOKEN, UPSTREAM, WHOLE, Findings, as_json
from child import read
from table import update

from pytorch_to_mlx import environments
from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.conversion import convert

HERE = Path(__file__).parent
CONTENDERS = HERE / "chatterbox_contenders"
TEXT = "The quick brown fox jumps over the lazy dog, and then it sleeps in the sun."
PROMPT_SECONDS, RATE, SAMPLES_PER_TOKEN, TOKENS_PER_SECOND = 5.0, 24000, 960, 25
WARM_UP = 6
"""Tokens of the synthesis before the first round."""
SHORT, LONG = 5, 40
"""Seconds of audio between which growth is measured."""
SYNTHESES = 50

STAGES: dict[str, tuple[str, dict[str, str]]] = {
    "voice": ("voice", {"voice preparation": ""}),
    "whole": (
        "synthesize",
        {
            "T3 prefill": "prefill",
            TOKEN: "token",
            **{span: span for span in ("flow", "vocoder", "watermark")},
            WHOLE: "",
        },
    ),
    "first-audio": ("first_audio", {FIRST: ""}),
    "t3": ("t3", {"T3 prefill": "prefill", TOKEN: "token"}),
    "flow": ("flow", {"flow": "flow"}),
    "vocoder": ("vocoder", {"vocoder": "vocoder"}),
}
"""What a contender is told to do, and the rows that come of it: the spans that it times, or all of it."""
ROUND = ("voice", "whole", "first-audio")


@dataclass(frozen=True)
class Contender:
    """How one is started. `streams` if audio comes before all of it is there; `preloads` if it computes in MLX."""

    name: str
    script: str
    environment: str | None
    streams: bool = False
    preloads: bool = True

    @property
    def python(self) -> Path:
        """Its interpreter, whose environment is built if need be."""
        return environments.install(environments.get(self.environment)) if self.environment else Path(sys.executable)

    def variables(self, threads: int) -> dict[str, str]:
        """Its environment variables: as many threads for all, OpenBLAS for MLX alone."""
        kept = environments.environment_of_children()
        counts = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
        preload = {"LD_PRELOAD": openblas()} if self.preloads and openblas() else {}
        return {**kept, **dict.fromkeys(counts, str(threads)), **preload, "MLX_ENABLE_TF32": "0"}


KNOWN = {
    "ours": Contender(OURS, "ours.py", None, streams=True),
    "upstream": Contender(UPSTREAM, "upstream.py", "synthesis", preloads=False),
    "mlx-audio": Contender(MLX_AUDIO, "mlx_audio_tts.py", "mlx-audio"),
}


def openblas() -> str:
    """What the Makefile preloads, or this process has preloaded; empty if there is none."""
    found = sorted(Path("/usr/lib").glob("*/openblas-pthread/libopenblas.so.0"))
    return os.environ.get("LD_PRELOAD") or (str(found[0]) if found else "")


class Child:
    """A contender's process.

    Attributes:
        loaded: what it said when it had loaded.
        replies: what it said since.
    """

    def __init__(self, command: Sequence[str | Path], variables: dict[str, str], errors: IO[str]) -> None:
        self._name = Path(command[1]).name
        self._errors = errors
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=variables
        )
        self.replies: list[dict[str, Any]] = []
        self.loaded = self._reply()

    def ask(self, method: str, *arguments: object) -> dict[str, Any]:
        """Have it do something.

        Raises:
            RuntimeError: it failed; the last lines that it printed.
        """
        assert self._process.stdin
        self._process.stdin.write(json.dumps([method, *arguments]) + "\n")
        self._process.stdin.flush()
        self.replies.append(self._reply())
        return self.replies[-1]

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout
        answer = self._process.stdout.readline()
        if not answer:
            self._process.wait()
            self._errors.seek(0)
            raise RuntimeError(f"{self._name} failed:\n{self._errors.read()[-3000:]}")
        return json.loads(answer)


def speak(child: Child, tokens: int, method: str = "synthesize", parts: int = 1) -> dict[str, Any]:
    """A synthesis, which must have come to as many tokens as were asked for."""
    reply = child.ask(method, tokens, parts) if parts > 1 else child.ask(method, tokens)
    if reply["tokens"] != tokens * parts or reply["result"] < SAMPLES_PER_TOKEN * tokens * parts:
        raise RuntimeError(f"{method} gave {reply['tokens']} tokens and {reply['result']} samples for {tokens} tokens")
    return reply


def measure(child: Child, contender: Contender, stage: str, tokens: int) -> dict[str, float]:
    """Seconds by row of one stage."""
    method, rows = STAGES[stage]
    if method == "voice":
        reply = child.ask(method)
    elif method == "synthesize" or (method == "first_audio" and not contender.streams):
        reply = speak(child, tokens)
    else:
        reply = child.ask(method, tokens)
    found = {row: reply["spans"].get(span) if span else reply["seconds"] for row, span in rows.items()}
    if stage == "whole" and not contender.streams:
        found[FIRST] = found[WHOLE]
    return {row: seconds for row, seconds in found.items() if seconds is not None}


def run_rounds(findings: Findings, children: dict[Contender, Child], stages: Sequence[str], options: Any) -> None:
    """Every stage of every contender, in turns."""
    for contender, child in children.items():
        note(f"{contender.name}: warms up")
        child.ask("voice")
        speak(child, min(WARM_UP, options.tokens))
        child.replies.clear()
    for number in range(1, options.rounds + 1):
        for stage in stages:
            findings.bandwidth.append(bandwidth(options.threads))
            for contender, child in children.items():
                if stage == "first-audio" and "whole" in stages and not contender.streams:
                    continue  # the whole synthesis told
                for row, seconds in measure(child, contender, stage, options.tokens).items():
                    findings.stages.setdefault(row, {}).setdefault(contender.name, []).append(seconds)
                    note(f"round {number}: {contender.name}: {row} {seconds:.3f} s")


def describe(findings: Findings, children: dict[Contender, Child]) -> None:
    """What each contender is and held."""
    for contender, child in children.items():
        loaded, last = child.loaded, child.replies[-1]
        findings.weights_per_token = max(findings.weights_per_token, loaded["facts"].get("weights_per_token", 0))
        findings.contenders[contender.name] = {
            "about": loaded["facts"]["about"],
            "preload": Path(openblas()).name if contender.preloads else "",
            "import": loaded["import"],
            "load": loaded["load"],
            "gflops": [reply["gflops"] for reply in child.replies],
            **{name: last[name] for name in ("peak", "held", "device_peak")},
        }


def grow(findings: Findings, child: Child) -> None:
    """Time for each second of audio by its length, in one pass and in parts; the short one before and after."""
    child.ask("voice")
    short, long = SHORT * TOKENS_PER_SECOND, LONG * TOKENS_PER_SECOND
    speak(child, WARM_UP)
    for tokens, parts in ((short, 1), (long, 1), (short, LONG // SHORT), (short, 1)):
        reply = speak(child, tokens, "speak_parts", parts) if parts > 1 else speak(child, tokens)
        seconds = tokens * parts / TOKENS_PER_SECOND
        what = f"{seconds:g} s in one pass" if parts == 1 else f"{seconds:g} s in {parts} parts"
        findings.growth.setdefault(what, []).append(reply["seconds"] / seconds)
        note(f"{what}: {reply['seconds']:.1f} s")


def repeat(findings: Findings, child: Child) -> None:
    """Many syntheses of lengths that come again only after a while."""
    child.ask("voice")
    for number in range(SYNTHESES):
        reply = speak(child, 4 + 8 * number % 21)
        findings.memory.append(reply["held"] or reply["device_peak"])
        note(f"synthesis {number + 1}: {findings.memory[-1] / 1e9:.3f} GB")


def bandwidth(threads: int) -> float:
    """Bytes a second that memory is read with, the best of a few, by numpy in as many threads."""
    parts = np.split(np.ones(threads << 25, np.float32), threads)
    taken = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(5):
            started = time.perf_counter()
            list(pool.map(np.max, parts))  # what waits for memory alone: a sum computes longer than it reads
            taken.append(time.perf_counter() - started)
    return sum(part.nbytes for part in parts) / min(taken)


@contextmanager
def models(names: Sequence[str], checkpoint: Path | None, work: Path) -> Iterator[dict[str, Path]]:
    """What each contender loads, converted from one checkpoint."""
    with tempfile.TemporaryDirectory(dir=work, prefix="chatterbox-") as drafts:
        if checkpoint is None:
            checkpoint = Path(drafts) / "checkpoint"
            note("writes a seeded checkpoint")
            arguments = ["export", "--variant", "english", "--seed", "0", "--out", str(checkpoint)]
            environments.run_script("chatterbox_tts.py", arguments)
        found = {"upstream": checkpoint, "ours": Path(drafts) / "ours", "mlx-audio": Path(drafts) / "mlx-audio"}
        if "ours" in names:
            note("converts for ours")
            convert(checkpoint, found["ours"], port="chatterbox", variant="english")
        if "mlx-audio" in names:
            note("converts for mlx-audio")
            contender = KNOWN["mlx-audio"]
            command = [contender.python, CONTENDERS / contender.script, "convert", checkpoint, found["mlx-audio"]]
            subprocess.run(command, check=True, env=contender.variables(1), stdout=sys.stderr)
        yield {name: found[name] for name in names}


@contextmanager
def children(folders: dict[str, Path], prompt: Path, threads: int) -> Iterator[dict[Contender, Child]]:
    """The contenders' processes, loaded one after another from files that were read just before."""
    with ExitStack() as stack:
        started: dict[Contender, Child] = {}
        for name, folder in folders.items():
            read(folder, folder)
            note(f"{name}: loads")
            contender = KNOWN[name]
            setting = {
                "model": str(folder),
                "prompt": str(prompt),
                "text": TEXT,
                "threads": threads,
                "started": time.time(),
            }
            command = [contender.python, CONTENDERS / contender.script, json.dumps(setting)]
            errors = stack.enter_context(tempfile.TemporaryFile("w+"))
            started[contender] = Child(command, contender.variables(threads), errors)
            stack.callback(started[contender].close)
        yield started


def write_prompt(path: Path) -> None:
    """A recording like speech: the one that references hear."""
    spec = importlib.util.spec_from_file_location("_seed", environments.SCRIPTS / "_seed.py")
    assert spec and spec.loader
    seed = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(seed)
    Audio(seed.speechlike(3, PROMPT_SECONDS, RATE), RATE).write(path)


def note(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="a folder as upstream's repository has it; else a seeded one")
    parser.add_argument("--tokens", type=int, default=100, help="speech tokens to say, 25 a second")
    parser.add_argument("--rounds", type=int, default=2, help="how often each stage is measured; 0 for the rest alone")
    parser.add_argument("--only", choices=list(STAGES), help="one stage, on made-up input where others precede it")
    parser.add_argument("--contenders", type=lambda text: text.split(","), default=list(KNOWN), help=", ".join(KNOWN))
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="for each contender")
    parser.add_argument("--growth", action="store_true", help=f"time by length, {SHORT} to {LONG} s of audio, too")
    parser.add_argument("--memory", action="store_true", help=f"memory over {SYNTHESES} syntheses, too")
    parser.add_argument("--work", type=Path, default=HERE / "output", help="where converted models lie meanwhile")
    parser.add_argument("--update-docs", action="store_true", help="put the tables into docs/benchmarks.md")
    options = parser.parse_args(arguments)
    if unknown := set(options.contenders) - set(KNOWN):
        parser.error(f"--contenders {', '.join(sorted(unknown))}: there are {', '.join(KNOWN)}")
    if (options.growth or options.memory) and "ours" not in options.contenders:
        parser.error("--growth and --memory are about ours: add it to --contenders")
    if options.tokens < 3 or options.rounds < 0:
        parser.error("--tokens must be 3 or more, --rounds 0 or more")
    if options.checkpoint and not options.checkpoint.is_dir():
        parser.error(f"{options.checkpoint}: no such folder")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    findings = Findings("")
    with (
        tempfile.TemporaryDirectory() as drafts,
        models(options.contenders, options.checkpoint, options.work) as folders,
    ):
        prompt = Path(drafts) / "prompt.wav"
        write_prompt(prompt)
        with children(folders, prompt, options.threads) as started:
            if options.rounds:
                run_rounds(findings, started, [options.only] if options.only else ROUND, options)
                describe(findings, started)
            if options.growth:
                grow(findings, started[KNOWN["ours"]])
            if options.memory:
                repeat(findings, started[KNOWN["ours"]])
    findings.about = (
        f"{options.tokens} speech tokens ({options.tokens / TOKENS_PER_SECOND:g} s) after a prompt of "
        f"{PROMPT_SECONDS:g} s, float32, {options.threads} threads; {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores; load average {load:.1f} before and {os.getloadavg()[0]:.1f} after. Medians of "
        f"{options.rounds} rounds; with ratios, the lowest and the highest."
    )
    print(findings.markdown())
    output = HERE / "output" / "chatterbox.json"
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(as_json(findings), indent=2))
    output.with_suffix(".md").write_text(findings.markdown() + "\n")
    if options.update_docs:
        update(HERE.parent / "docs/benchmarks.md", Path(__file__).name, findings.markdown())


if __name__ == "__main__":
    main()
