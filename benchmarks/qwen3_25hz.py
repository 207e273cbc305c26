"""What the 25 Hz tokenizer of Qwen3-TTS costs here and in upstream's PyTorch, stage by stage, on the same weights.

    python benchmarks/qwen3_25hz.py [--checkpoint FOLDER] [--codes 50] [--seconds 8] [--rounds 3] [--update-docs]

At the default sizes of upstream's classes, which nobody has published weights of; mlx-audio has no such model. It needs
about 12 GB of memory and 10 GB of disk.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from qwen3_tts import DECODE
from race import OURS, UPSTREAM, Child, Contender, note, started, write_prompt
from speech_report import Findings, Stages, describe, publish, setting

from pytorch_to_mlx import environments
from pytorch_to_mlx.conversion import convert

HERE = Path(__file__).parent
RATE, CODES_PER_SECOND = 16000, 25
ENCODE, SPECTRUM, VOCODER = "sound to codes", "codes to a spectrum, 9 steps of flow matching", "spectrum to sound"
REPORT = Stages(order=(ENCODE, SPECTRUM, VOCODER, DECODE), targets={}, reading=("", "", ""))
KNOWN = (
    Contender(OURS, "qwen3_25hz_ours.py", None),
    Contender(UPSTREAM, "qwen3_25hz_upstream.py", "synthesis", preloads=False),
)


def measure(child: Child, codes: int, seconds: float) -> dict[str, float]:
    """Seconds by row."""
    encoded, decoded = child.ask("encode"), child.ask("decode", codes)
    if abs(encoded["result"] - seconds * CODES_PER_SECOND) > 1:
        raise RuntimeError(f"{seconds:g} s of sound gave {encoded['result']} codes")
    if decoded["result"] != codes * 960:
        raise RuntimeError(f"{codes} codes gave {decoded['result']} samples")
    spans: dict[str, float] = decoded["spans"]
    parts = {SPECTRUM: spans["spectrum"], VOCODER: spans["vocoder"]}
    return {ENCODE: encoded["seconds"], **parts, DECODE: decoded["seconds"]}


@contextmanager
def models(checkpoint: Path | None, work: Path) -> Iterator[dict[Contender, Path]]:
    """What each contender loads, of one checkpoint."""
    with tempfile.TemporaryDirectory(dir=work, prefix="qwen3-25hz-") as drafts:
        if checkpoint is None:
            checkpoint = Path(drafts) / "checkpoint"
            note("writes a seeded checkpoint")
            arguments = ["export", "--variant", "25hz", "--seed", "0", "--out", str(checkpoint)]
            environments.run_script("qwen3_tts_tokenizer_25hz.py", arguments)
        note("converts for ours")
        convert(checkpoint, Path(drafts) / "ours", dtype="float32")
        yield dict(zip(KNOWN, (Path(drafts) / "ours", checkpoint), strict=True))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="a folder as upstream would have it; else a seeded one")
    parser.add_argument("--codes", type=int, default=50, help="to decode, 25 a second")
    parser.add_argument("--seconds", type=float, default=8.0, help="to encode")
    parser.add_argument("--rounds", type=int, default=3, help="how often each stage is measured")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="for each contender")
    parser.add_argument("--work", type=Path, default=HERE / "output", help="where the converted model lies meanwhile")
    parser.add_argument("--update-docs", action="store_true", help="put the tables into docs/benchmarks.md")
    options = parser.parse_args(arguments)
    if options.codes < 1 or options.rounds < 1 or options.seconds < 0.2:
        parser.error("--codes and --rounds must be 1 or more, --seconds 0.2 or more")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    load, findings = os.getloadavg()[0], Findings("", REPORT)
    with tempfile.TemporaryDirectory() as drafts, models(options.checkpoint, options.work) as folders:
        prompt = Path(drafts) / "prompt.wav"
        write_prompt(prompt, options.seconds, RATE)
        with started(folders, prompt, "", options.threads) as children:
            for contender, child in children.items():
                note(f"{contender.name}: warms up")
                child.ask("encode")
                child.ask("decode", 5)
                child.replies.clear()
            for number in range(1, options.rounds + 1):
                for contender, child in children.items():
                    for row, seconds in measure(child, options.codes, options.seconds).items():
                        findings.stages.setdefault(row, {}).setdefault(contender.name, []).append(seconds)
                        note(f"round {number}: {contender.name}: {row} {seconds:.3f} s")
            describe(findings, children)
    findings.about = (
        f"{options.seconds:g} s of sound to codes, {options.codes} codes ({options.codes / CODES_PER_SECOND:g} s) to "
        f"sound, {setting(options.threads, options.rounds, load)}"
    )
    publish(findings, Path(__file__), in_docs=options.update_docs)


if __name__ == "__main__":
    main()
