"""What speech costs: Qwen3-TTS here, in upstream's PyTorch and in mlx-audio, stage by stage, on the same weights.

    python benchmarks/qwen3_tts.py [--checkpoint FOLDER] [--frames 25] [--rounds 2] [--update-docs]
    python benchmarks/qwen3_tts.py --contenders ours,mlx-audio --only decode

Each contender is a process of its own, loaded once; then all work in turns: a voice is prepared, a text is said with it
in so many frames (12.5 a second), until the first sound and whole, four texts at once, and frames are decoded. The
base model of 0.6 B parameters, float32. It needs about 16 GB of memory and 15 GB of disk.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from race import (
    MLX_AUDIO,
    OURS,
    UPSTREAM,
    Child,
    Contender,
    bandwidth,
    note,
    started,
    write_prompt,
)
from speech_report import Findings, Stages, describe, publish, setting

from pytorch_to_mlx import environments
from pytorch_to_mlx.conversion import convert

HERE = Path(__file__).parent
TEXT = "The quick brown fox jumps over the lazy dog, and then it sleeps in the sun."
PROMPT_SECONDS, RATE, FRAMES_PER_SECOND, ROWS = 3.0, 24000, 12.5, 4
VOICE, FRAME, BATCH, DECODE = "voice preparation", "each frame", "each frame of four at once", "codec decode"
WHOLE, FOUR, FIRST = "whole synthesis", "whole synthesis of four at once", "first audio"
REPORT = Stages(
    order=(VOICE, FRAME, BATCH, DECODE, WHOLE, FOUR, FIRST),
    targets={FRAME: (MLX_AUDIO, 1.1), DECODE: (MLX_AUDIO, 3.0), WHOLE: (UPSTREAM, 1.0)},
    reading=(FRAME, "Talker and code predictor", "frame"),
)
AT_ONCE = 1.6
STAGES = ("voice", "whole", "first", "batch", "decode")
KNOWN = {
    "ours": Contender(OURS, "qwen3_tts_ours.py", None, streams=True),
    "upstream": Contender(UPSTREAM, "qwen3_tts_upstream.py", "synthesis", preloads=False),
    "mlx-audio": Contender(MLX_AUDIO, "qwen3_tts_mlx_audio.py", "mlx-audio", streams=True),
}


def measure(child: Child, contender: Contender, stage: str, frames: int) -> dict[str, float]:
    """Seconds by row of one stage."""
    if stage == "voice":
        return {VOICE: child.ask("voice")["seconds"]}
    if stage == "batch":
        reply = child.ask("batch", frames, ROWS)
        checked(reply, frames, spoken(reply), stage)
        return {BATCH: reply["spans"]["token"], FOUR: reply["seconds"]}
    if stage == "first" and contender.streams:
        return {FIRST: child.ask("first_audio", frames)["seconds"]}
    if stage == "first":
        return {}
    reply = child.ask("decode" if stage == "decode" else "synthesize", frames)
    checked(reply, frames, spoken(reply), stage)
    if stage == "decode":
        return {DECODE: reply["seconds"]}
    late = {} if contender.streams else {FIRST: reply["seconds"]}
    return {FRAME: reply["spans"]["token"], WHOLE: reply["seconds"], **late}


def spoken(reply: dict[str, Any]) -> int:
    """Frames."""
    return round(reply["result"] / RATE * FRAMES_PER_SECOND)


def checked(reply: dict[str, Any], asked: int, given: int, what: str) -> dict[str, Any]:
    """The reply, which must be of as much speech as was asked for."""
    if abs(given - asked) > 1:
        raise RuntimeError(f"{what} gave {given} frames for {asked}")
    return reply


@contextmanager
def models(names: Sequence[str], checkpoint: Path | None, work: Path) -> Iterator[dict[Contender, Path]]:
    """What each contender loads, of one checkpoint."""
    with tempfile.TemporaryDirectory(dir=work, prefix="qwen3-tts-") as drafts:
        if checkpoint is None:
            checkpoint = Path(drafts) / "checkpoint"
            note("writes a seeded checkpoint")
            arguments = ["export", "--variant", "0.6b-base", "--seed", "0", "--out", str(checkpoint)]
            environments.run_script("qwen3_tts.py", arguments)
        found = {"upstream": checkpoint, "ours": Path(drafts) / "ours", "mlx-audio": Path(drafts) / "wide"}
        if "ours" in names:
            note("converts for ours")
            convert(checkpoint, found["ours"], dtype="float32")
        if "mlx-audio" in names:
            note("writes float32 for mlx-audio, which takes files as they are")
            widen(checkpoint, found["mlx-audio"])
        yield {KNOWN[name]: found[name] for name in names}


def widen(checkpoint: Path, folder: Path) -> None:
    """A copy of a checkpoint whose tensors are float32."""
    import mlx.core as mx

    for source in (file for file in checkpoint.rglob("*") if file.is_file()):
        target = folder / source.relative_to(checkpoint)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix != ".safetensors":
            target.write_bytes(source.read_bytes())
            continue
        tensors: Any = mx.load(str(source))
        mx.save_safetensors(str(target), {name: array.astype(mx.float32) for name, array in tensors.items()})


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="a folder as upstream's repository has it; else a seeded one")
    parser.add_argument("--frames", type=int, default=25, help="of speech to say, 12.5 a second")
    parser.add_argument("--rounds", type=int, default=2, help="how often each stage is measured")
    parser.add_argument("--only", type=lambda text: text.split(","), default=STAGES, help=", ".join(STAGES))
    parser.add_argument("--contenders", type=lambda text: text.split(","), default=list(KNOWN), help=", ".join(KNOWN))
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="for each contender")
    parser.add_argument("--work", type=Path, default=HERE / "output", help="where converted models lie meanwhile")
    parser.add_argument("--update-docs", action="store_true", help="put the tables into docs/benchmarks.md")
    options = parser.parse_args(arguments)
    for flag, given, known in (("--contenders", options.contenders, KNOWN), ("--only", options.only, STAGES)):
        if unknown := set(given) - set(known):
            parser.error(f"{flag} {', '.join(sorted(unknown))}: there are {', '.join(known)}")
    if options.frames < 6 or options.rounds < 1:
        parser.error("--frames must be 6 or more, --rounds 1 or more")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    load, findings = os.getloadavg()[0], Findings("", REPORT)
    with (
        tempfile.TemporaryDirectory() as drafts,
        models(options.contenders, options.checkpoint, options.work) as folders,
    ):
        prompt = Path(drafts) / "prompt.wav"
        write_prompt(prompt, PROMPT_SECONDS, RATE)
        with started(folders, prompt, TEXT, options.threads) as children:
            for contender, child in children.items():
                note(f"{contender.name}: warms up")
                child.ask("voice")
                child.ask("synthesize", 6)
                child.replies.clear()
            for number in range(1, options.rounds + 1):
                for stage in options.only:
                    findings.bandwidth.append(bandwidth(options.threads))
                    for contender, child in children.items():
                        for row, seconds in measure(child, contender, stage, options.frames).items():
                            findings.stages.setdefault(row, {}).setdefault(contender.name, []).append(seconds)
                            note(f"round {number}: {contender.name}: {row} {seconds:.3f} s")
            describe(findings, children)
    findings.about = (
        f"{options.frames} frames ({options.frames / FRAMES_PER_SECOND:g} s) after a reference of "
        f"{PROMPT_SECONDS:g} s, 0.6 B parameters, {setting(options.threads, options.rounds, load)} mlx-audio prepares "
        "no voice: it hears the recording in each synthesis."
    )
    findings.remarks = [*at_once(findings)]
    publish(findings, Path(__file__), in_docs=options.update_docs)


def at_once(findings: Findings) -> Iterator[str]:
    """How much longer four texts take than one."""
    for row, alone, what in ((BATCH, FRAME, "Talker and code predictor"), (FOUR, WHOLE, "The whole")):
        times = [findings.stages.get(each, {}).get(OURS) for each in (row, alone)]
        if times[0] and times[1]:
            ratios = [four / one for four, one in zip(times[0], times[1], strict=True)]
            told = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            yield f"{what} of four texts at once: {told} of the time of one (target: {AT_ONCE:g})."


if __name__ == "__main__":
    main()
