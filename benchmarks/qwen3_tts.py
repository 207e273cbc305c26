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
from pathlib import Path
from statistics import median
from typing import Any

from race import arguments, bandwidth, listed, models, note, refuse_unknown, started, turns
from speech_report import Findings, Stages, describe, publish, setting

from pytorch_to_mlx.benchmark.contender import MLX_AUDIO, OURS, UPSTREAM, Contender, contenders
from pytorch_to_mlx.benchmark.process import Child
from pytorch_to_mlx.benchmark.recordings import write_speechlike

TEXT = "The quick brown fox jumps over the lazy dog, and then it sleeps in the sun."
PROMPT_SECONDS, RATE, FRAMES_PER_SECOND, ROWS = 3.0, 24000, 12.5, 4
VOICE, FRAME, BATCH, DECODE = "voice preparation", "each frame", "each frame of four at once", "codec decode"
WHOLE, FOUR, FIRST = "whole synthesis", "whole synthesis of four at once", "first audio"
REPORT = Stages(
    order=(VOICE, FRAME, BATCH, DECODE, WHOLE, FOUR, FIRST),
    targets={FRAME: {MLX_AUDIO: 1.1}, DECODE: {MLX_AUDIO: 3.0}, WHOLE: {UPSTREAM: 1.0}},
    reading=(FRAME, "Talker and code predictor", "frame"),
)
AT_ONCE = 1.6
STAGES = ("voice", "whole", "first", "batch", "decode")
PORT, VARIANT = "qwen3_tts", "0.6b-base"
KNOWN = contenders(PORT)


def measure(child: Child, contender: Contender, stage: str, frames: int) -> dict[str, float]:
    """Seconds by row of one stage."""
    if stage == "voice":
        reply = child.ask("voice")
        return {} if reply["result"] is False else {VOICE: reply["seconds"]}
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


def parse(given: Sequence[str] | None) -> argparse.Namespace:
    parser, parsed = arguments(__doc__, KNOWN, rounds=2)
    parser.add_argument("--frames", type=int, default=25, help="of speech to say, 12.5 a second")
    parser.add_argument("--only", type=listed, default=STAGES, help=", ".join(STAGES))
    options = parsed(given)
    refuse_unknown(parser, "--only", options.only, STAGES)
    if options.frames < 6:
        parser.error("--frames must be 6 or more")
    return options


def main(given: Sequence[str] | None = None) -> None:
    options = parse(given)
    load, findings = os.getloadavg()[0], Findings("", REPORT)
    with tempfile.TemporaryDirectory() as drafts, models(KNOWN, options, PORT, VARIANT) as folders:
        prompt = Path(drafts) / "prompt.wav"
        write_speechlike(prompt, PROMPT_SECONDS, RATE)
        with started(folders, prompt, TEXT, options.threads, PORT, VARIANT) as children:
            for contender, child in children.items():
                note(f"{contender.name}: warms up")
                child.ask("voice")
                child.ask("synthesize", 6)
                child.replies.clear()
            turns(
                findings,
                children,
                options.rounds,
                options.only,
                lambda child, contender, stage: measure(child, contender, stage, options.frames),
                lambda: findings.bandwidth.append(bandwidth(options.threads)),
            )
            describe(findings, children)
    findings.about = (
        f"{options.frames} frames ({options.frames / FRAMES_PER_SECOND:g} s) after a reference of "
        f"{PROMPT_SECONDS:g} s, 0.6 B parameters, {setting(options.threads, options.rounds, load)} mlx-audio prepares "
        "no voice: the first synthesis, which warms up, encodes the recording, and later ones hear its speaker again."
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
