"""What Whisper's stages cost here, in upstream's PyTorch and in mlx-whisper, on the same weights.

    python benchmarks/whisper_speed.py [--variants tiny,base] [--tokens 100] [--rounds 5] [--update-docs]

mlx-whisper has no beam search.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from race import arguments, listed, models, note, refuse_unknown, started, turns
from speech_report import Findings, Stages, describe, publish, setting

from pytorch_to_mlx import registry
from pytorch_to_mlx.benchmark.contender import MLX_WHISPER, UPSTREAM, contenders
from pytorch_to_mlx.benchmark.process import Child

PORT, BEAMS, POSITIONS = "whisper", 5, 1500
SHORT = 5
"""Tokens to warm up with."""
KNOWN = contenders(PORT)


def report(variants: Sequence[str]) -> Stages:
    """Rows of variants, with their targets."""
    targets = {}
    for encoder, greedy, _ in map(rows, variants):
        targets |= {encoder: {MLX_WHISPER: 3.0, UPSTREAM: 0.6}, greedy: {MLX_WHISPER: 1.5, UPSTREAM: 1.0}}
    order = tuple(row for variant in variants for row in rows(variant))
    return Stages(order=order, targets=targets)


def rows(variant: str) -> tuple[str, str, str]:
    """What is measured."""
    return (
        f"{variant}: 30 s of spectrum to states",
        f"{variant}: a token, greedy",
        f"{variant}: a token, {BEAMS} beams",
    )


def measure(child: Child, variant: str, tokens: int) -> dict[str, float]:
    """Seconds by row."""
    encoder, greedy, searched = rows(variant)
    encoded = child.ask("encode")
    if encoded["result"] != POSITIONS:
        raise RuntimeError(f"a window gave {encoded['result']} states")
    found = {encoder: encoded["seconds"]}
    for row, beams in ((greedy, 0), (searched, BEAMS)):
        decoded = child.ask("decode", tokens, beams)
        if decoded["result"]:
            if decoded["result"] != tokens:
                raise RuntimeError(f"{tokens} tokens were to be drawn, not {decoded['result']}")
            found[row] = decoded["seconds"] / tokens
    return found


def parse(given: Sequence[str] | None) -> argparse.Namespace:
    parser, parsed = arguments(__doc__, KNOWN, rounds=5)
    parser.add_argument("--variants", type=listed, default=["tiny", "base"], help="tiny,base,small,...")
    parser.add_argument("--tokens", type=int, default=100, help="to draw, at most 200")
    options = parsed(given)
    refuse_unknown(parser, "--variants", options.variants, registry.get(PORT).variants)
    if not 1 <= options.tokens <= 200:
        parser.error("--tokens must be 1 to 200")
    return options


def main(given: Sequence[str] | None = None) -> None:
    options = parse(given)
    load, findings = os.getloadavg()[0], Findings("", report(options.variants))
    for variant in options.variants:
        with (
            models(KNOWN, options, PORT, variant) as files,
            started(files, None, "", options.threads, PORT, variant) as children,
        ):
            for contender, child in children.items():
                note(f"{contender.name}: warms up")
                measure(child, variant, SHORT)
                child.replies.clear()
            turns(
                findings,
                children,
                options.rounds,
                [variant],
                lambda child, _, variant: measure(child, variant, options.tokens),
            )
            describe(findings, children)
    findings.about = (
        f"A window of 30 s, {options.tokens} tokens with all rules of a transcription; "
        f"{setting(options.threads, options.rounds, load)} Processes are described at {options.variants[-1]}."
    )
    publish(findings, Path(__file__), in_docs=options.update_docs)


if __name__ == "__main__":
    main()
