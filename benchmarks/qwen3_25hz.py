"""What the 25 Hz tokenizer of Qwen3-TTS costs here and in upstream's PyTorch, stage by stage, on the same weights.

    python benchmarks/qwen3_25hz.py [--checkpoint FOLDER] [--codes 50] [--seconds 8] [--rounds 3] [--update-docs]

At the default sizes of upstream's classes, which nobody has published weights of; mlx-audio has no such model. It needs
about 12 GB of memory and 10 GB of disk.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from qwen3_tts import DECODE
from race import arguments, models, note, started, turns
from speech_report import Findings, Stages, describe, publish, setting

from pytorch_to_mlx.benchmark.contender import contenders
from pytorch_to_mlx.benchmark.process import Child
from pytorch_to_mlx.benchmark.recordings import write_speechlike

RATE, CODES_PER_SECOND = 16000, 25
ENCODE, SPECTRUM, VOCODER = "sound to codes", "codes to a spectrum, 9 steps of flow matching", "spectrum to sound"
REPORT = Stages(order=(ENCODE, SPECTRUM, VOCODER, DECODE), targets={})
PORT, VARIANT = "qwen3_tts_tokenizer_25hz", "25hz"
KNOWN = contenders(PORT)


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


def parse(given: Sequence[str] | None) -> argparse.Namespace:
    parser, parsed = arguments(__doc__, KNOWN, rounds=3)
    parser.add_argument("--codes", type=int, default=50, help="to decode, 25 a second")
    parser.add_argument("--seconds", type=float, default=8.0, help="to encode")
    options = parsed(given)
    if options.codes < 1 or options.seconds < 0.2:
        parser.error("--codes must be 1 or more, --seconds 0.2 or more")
    return options


def main(given: Sequence[str] | None = None) -> None:
    options = parse(given)
    load, findings = os.getloadavg()[0], Findings("", REPORT)
    with tempfile.TemporaryDirectory() as drafts, models(KNOWN, options, PORT, VARIANT) as folders:
        prompt = Path(drafts) / "prompt.wav"
        write_speechlike(prompt, options.seconds, RATE)
        with started(folders, prompt, "", options.threads, PORT, VARIANT) as children:
            for contender, child in children.items():
                note(f"{contender.name}: warms up")
                child.ask("encode")
                child.ask("decode", 5)
                child.replies.clear()
            turns(
                findings,
                children,
                options.rounds,
                [""],
                lambda child, *_: measure(child, options.codes, options.seconds),
            )
            describe(findings, children)
    findings.about = (
        f"{options.seconds:g} s of sound to codes, {options.codes} codes ({options.codes / CODES_PER_SECOND:g} s) to "
        f"sound, {setting(options.threads, options.rounds, load)}"
    )
    publish(findings, Path(__file__), in_docs=options.update_docs)


if __name__ == "__main__":
    main()
