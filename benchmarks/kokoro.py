"""What Kokoro costs here, in upstream's PyTorch and in mlx-audio, stage by stage, on the same weights.

    python benchmarks/kokoro.py [--checkpoint FOLDER] [--frames 200] [--contenders ours,upstream,mlx-audio] [--rounds 3]

mlx-audio takes more than a minute for five seconds of sound on a CPU.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from race import MLX_AUDIO, OURS, UPSTREAM, Child, Contender, note, started
from safetensors.numpy import save_file
from speech_report import Findings, Stages, describe, publish, setting

from pytorch_to_mlx import environments
from pytorch_to_mlx.checkpoint import open_checkpoint
from pytorch_to_mlx.conversion import convert

HERE = Path(__file__).parent
FRAMES_PER_SECOND, SAMPLES = 40, 600
SHORT = 5
"""Frames to warm up with."""
PHONEMES = "ðə kwˈɪk bɹˈWn fˈɑks ʤˈʌmps ˌOvəɹ ðə lˈAzi dˈɔɡ."
TEXT, DECODER = f"{len(PHONEMES)} phonemes to frames", "frames to sound"
REPORT = Stages(order=(TEXT, DECODER), targets={DECODER: (MLX_AUDIO, 25.0)}, reading=("", "", ""))
KNOWN = {
    "ours": Contender(OURS, "kokoro_ours.py", None),
    "upstream": Contender(UPSTREAM, "kokoro_upstream.py", "kokoro", preloads=False),
    "mlx-audio": Contender(MLX_AUDIO, "kokoro_mlx_audio.py", "mlx-audio"),
}


def measure(child: Child, frames: int) -> dict[str, float]:
    """Seconds by row."""
    text, decoded = child.ask("frames"), child.ask("decode", frames)
    if abs(decoded["result"] - frames * SAMPLES) > SAMPLES:  # one makes a frame less
        raise RuntimeError(f"{frames} frames gave {decoded['result']} samples")
    return {TEXT: text["seconds"], DECODER: decoded["seconds"]}


@contextmanager
def models(checkpoint: Path | None, names: Sequence[str], work: Path) -> Iterator[dict[Contender, Path]]:
    """What each contender loads, of one checkpoint."""
    with tempfile.TemporaryDirectory(dir=work, prefix="kokoro-") as drafts:
        if checkpoint is None:
            checkpoint = Path(drafts) / "checkpoint"
            note("writes a seeded checkpoint")
            arguments = ["export", "--variant", "v1.0", "--seed", "0", "--out", str(checkpoint)]
            environments.run_script("kokoro_tts.py", arguments)
        folders = {"ours": Path(drafts) / "ours", "upstream": checkpoint, "mlx-audio": Path(drafts) / "mlx-audio"}
        note("converts for ours")
        convert(checkpoint, folders["ours"])
        if "mlx-audio" in names:
            _as_safetensors(checkpoint, folders["mlx-audio"])
        yield {KNOWN[name]: folders[name] for name in names}


def _as_safetensors(checkpoint: Path, folder: Path) -> None:
    """The file that mlx-audio would be given: upstream's tensors, by part and name."""
    folder.mkdir()
    with open_checkpoint(checkpoint / "kokoro-v1_0.pth") as tensors:
        state = {name.replace(".module.", ".", 1): np.array(tensors.read(name)) for name in tensors}
    save_file(state, folder / "model.safetensors")
    shutil.copy(checkpoint / "config.json", folder)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="a folder as upstream would have it; else a seeded one")
    parser.add_argument("--frames", type=int, default=200, help="to decode, 40 a second")
    parser.add_argument("--contenders", default=",".join(KNOWN), help="some, by commas, of these")
    parser.add_argument("--rounds", type=int, default=3, help="how often each stage is measured")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="for each contender")
    parser.add_argument("--work", type=Path, default=HERE / "output", help="where converted models lie meanwhile")
    parser.add_argument("--update-docs", action="store_true", help="put the tables into docs/benchmarks.md")
    options = parser.parse_args(arguments)
    options.contenders = options.contenders.split(",")
    if unknown := set(options.contenders) - set(KNOWN):
        parser.error(f"--contenders {min(unknown)}: there are {', '.join(KNOWN)}")
    if options.frames < 3 or options.rounds < 1:
        parser.error("--frames must be 3 or more, --rounds 1 or more")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    load, findings = os.getloadavg()[0], Findings("", REPORT)
    with (
        models(options.checkpoint, options.contenders, options.work) as folders,
        started(folders, Path(), PHONEMES, options.threads) as children,
    ):
        for contender, child in children.items():
            note(f"{contender.name}: warms up")
            measure(child, SHORT)
            child.replies.clear()
        for number in range(1, options.rounds + 1):
            for contender, child in children.items():
                for row, seconds in measure(child, options.frames).items():
                    findings.stages.setdefault(row, {}).setdefault(contender.name, []).append(seconds)
                    note(f"round {number}: {contender.name}: {row} {seconds:.3f} s")
        describe(findings, children)
    findings.about = (
        f"{len(PHONEMES)} phonemes, {options.frames} frames ({options.frames / FRAMES_PER_SECOND:g} s), "
        f"{setting(options.threads, options.rounds, load)}"
    )
    publish(findings, Path(__file__), in_docs=options.update_docs)


if __name__ == "__main__":
    main()
