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
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from race import arguments, bandwidth, models, note, started, turns
from speech_report import Findings, Stages, describe, publish, setting

from pytorch_to_mlx.benchmark.contender import MLX_AUDIO, UPSTREAM, Contender, contenders
from pytorch_to_mlx.benchmark.process import Child
from pytorch_to_mlx.benchmark.recordings import write_speechlike

TEXT = "The quick brown fox jumps over the lazy dog, and then it sleeps in the sun."
PROMPT_SECONDS, RATE, SAMPLES_PER_TOKEN, TOKENS_PER_SECOND = 5.0, 24000, 960, 25
WARM_UP = 6
"""Tokens of the synthesis before the first round."""
SHORT, LONG = 5, 40
"""Seconds of audio between which growth is measured."""
SYNTHESES = 50

TOKEN, WHOLE, FIRST = "T3, each token", "whole synthesis", "first audio"
REPORT = Stages(
    order=("voice preparation", "T3 prefill", TOKEN, "flow", "vocoder", "watermark", WHOLE, FIRST),
    targets={
        TOKEN: {MLX_AUDIO: 1.1},
        "flow": {MLX_AUDIO: 3.0},
        "vocoder": {MLX_AUDIO: 30.0},
        WHOLE: {UPSTREAM: 1.0},
    },
    reading=(TOKEN, "T3", "token"),
)

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
PORT, VARIANT = "chatterbox", "english"
KNOWN = contenders(PORT)


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

    def measured(child: Child, contender: Contender, stage: str) -> dict[str, float]:
        if stage == "first-audio" and "whole" in stages and not contender.streams:
            return {}  # the whole synthesis told
        return measure(child, contender, stage, options.tokens)

    turns(
        findings,
        children,
        options.rounds,
        stages,
        measured,
        lambda: findings.bandwidth.append(bandwidth(options.threads)),
    )


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


def parse(given: Sequence[str] | None) -> argparse.Namespace:
    parser, parsed = arguments(__doc__, KNOWN, rounds=2, least=0)
    parser.add_argument("--tokens", type=int, default=100, help="speech tokens to say, 25 a second")
    parser.add_argument("--only", choices=list(STAGES), help="one stage, on made-up input where others precede it")
    parser.add_argument("--growth", action="store_true", help=f"time by length, {SHORT} to {LONG} s of audio, too")
    parser.add_argument("--memory", action="store_true", help=f"memory over {SYNTHESES} syntheses, too")
    options = parsed(given)
    if (options.growth or options.memory) and "ours" not in options.contenders:
        parser.error("--growth and --memory are about ours: add it to --contenders")
    if options.tokens < 3:
        parser.error("--tokens must be 3 or more")
    return options


def main(given: Sequence[str] | None = None) -> None:
    options = parse(given)
    load, findings = os.getloadavg()[0], Findings("", REPORT)
    with tempfile.TemporaryDirectory() as drafts, models(KNOWN, options, PORT, VARIANT) as folders:
        prompt = Path(drafts) / "prompt.wav"
        write_speechlike(prompt, PROMPT_SECONDS, RATE)
        with started(folders, prompt, TEXT, options.threads, PORT, VARIANT) as children:
            if options.rounds:
                run_rounds(findings, children, [options.only] if options.only else ROUND, options)
                describe(findings, children)
            if options.growth:
                grow(findings, children[KNOWN["ours"]])
            if options.memory:
                repeat(findings, children[KNOWN["ours"]])
    findings.about = (
        f"{options.tokens} speech tokens ({options.tokens / TOKENS_PER_SECOND:g} s) after a prompt of "
        f"{PROMPT_SECONDS:g} s, {setting(options.threads, options.rounds, load)}"
    )
    publish(findings, Path(__file__), in_docs=options.update_docs)


if __name__ == "__main__":
    main()
