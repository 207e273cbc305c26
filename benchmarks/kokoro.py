"""What Kokoro's stages cost here, in upstream's PyTorch and in mlx-audio, on the same weights.

    python benchmarks/kokoro.py [--checkpoint FOLDER] [--frames 200] [--contenders ours,pytorch,mlx-audio] [--rounds 3]

mlx-audio takes more than a minute for five seconds of sound on a CPU.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from race import arguments, models, note, started, turns
from speech_report import Findings, Stages, describe, publish, setting

from pytorch_to_mlx.benchmark.contender import MLX_AUDIO, UPSTREAM, contenders
from pytorch_to_mlx.benchmark.process import Child

FRAMES_PER_SECOND, SAMPLES = 40, 600
SHORT = 5
"""Frames to warm up with."""
PHONEMES = "ðə kwˈɪk bɹˈWn fˈɑks ʤˈʌmps ˌOvəɹ ðə lˈAzi dˈɔɡ."
TEXT, DECODER = f"{len(PHONEMES)} phonemes to frames", "frames to sound"
REPORT = Stages(order=(TEXT, DECODER), targets={DECODER: {MLX_AUDIO: 25.0, UPSTREAM: 0.5}})
PORT, VARIANT = "kokoro", "v1.0"
KNOWN = contenders(PORT)


def measure(child: Child, frames: int) -> dict[str, float]:
    """Seconds by row."""
    text, decoded = child.ask("frames"), child.ask("decode", frames)
    if abs(decoded["result"] - frames * SAMPLES) > SAMPLES:  # one makes a frame less
        raise RuntimeError(f"{frames} frames gave {decoded['result']} samples")
    return {TEXT: text["seconds"], DECODER: decoded["seconds"]}


def parse(given: Sequence[str] | None) -> argparse.Namespace:
    parser, parsed = arguments(__doc__, KNOWN, rounds=3)
    parser.add_argument("--frames", type=int, default=200, help="to decode, 40 a second")
    options = parsed(given)
    if options.frames < 3:
        parser.error("--frames must be 3 or more")
    return options


def main(given: Sequence[str] | None = None) -> None:
    options = parse(given)
    load, findings = os.getloadavg()[0], Findings("", REPORT)
    with (
        models(KNOWN, options, PORT, VARIANT) as folders,
        started(folders, None, PHONEMES, options.threads, PORT, VARIANT) as children,
    ):
        for contender, child in children.items():
            note(f"{contender.name}: warms up")
            measure(child, SHORT)
            child.replies.clear()
        turns(findings, children, options.rounds, [""], lambda child, *_: measure(child, options.frames))
        describe(findings, children)
    findings.about = (
        f"{len(PHONEMES)} phonemes, {options.frames} frames ({options.frames / FRAMES_PER_SECOND:g} s), "
        f"{setting(options.threads, options.rounds, load)}"
    )
    publish(findings, Path(__file__), in_docs=options.update_docs)


if __name__ == "__main__":
    main()
