"""What `transcribe` does with files: those that can be read, what each says as it is done, and writing it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from pytorch_to_mlx.errors import AudioError, FolderError, PytorchToMlxError
    from pytorch_to_mlx.presentation.transcripts import Layout
    from pytorch_to_mlx.service.kept import Kept
    from pytorch_to_mlx.service.voice_activity import Detector
    from pytorch_to_mlx.tasks import BatchTranscriber, Heard, Segment, Transcript


def lengths_of(recordings: Sequence[Path]) -> dict[int, float]:
    """Seconds of each file by its place; of several, those that cannot be read are told and left out.

    Raises:
        AudioError: the only one cannot be read.
    """
    from pytorch_to_mlx.audio.blocks import seconds_of
    from pytorch_to_mlx.errors import AudioError

    lengths: dict[int, float] = {}
    for place, path in enumerate(recordings):
        try:
            lengths[place] = seconds_of(path)
        except AudioError as error:
            if len(recordings) == 1:
                raise
            tell(error)
    return lengths


def tell(error: PytorchToMlxError) -> None:
    """What went wrong with one of several files."""
    from pytorch_to_mlx.cli.output import note

    note(f"pytorch-to-mlx: {error}")


def hear(
    model: BatchTranscriber,
    recordings: Sequence[Path],
    lengths: Mapping[int, float],
    detector: Detector | None,
    language: str | None,
    seed: int,
    settings: dict[str, Any],
    *,
    live: bool,
) -> Iterator[tuple[int, Transcript | AudioError]]:
    """Transcripts by place of those files that have a length, as they are done, with a block of each in memory at a
    time; where `live`, of one file, printed as it is heard, or with a detector, when all of it is."""
    from pytorch_to_mlx.audio.blocks import read_blocks
    from pytorch_to_mlx.cli.output import count_progress
    from pytorch_to_mlx.errors import AudioError
    from pytorch_to_mlx.service.kept import Kept
    from pytorch_to_mlx.service.voice_activity import FOR_TRANSCRIPTION, RATE, find_speech

    shares = dict.fromkeys(lengths, 0.0)
    kept: dict[int, Kept] = {}
    with count_progress() as progress:

        def count(place: int, share: float) -> None:
            shares[place] = share
            done = sum(share * lengths[each] for each, share in shares.items())
            name = recordings[0].name if len(recordings) == 1 else f"{len(recordings)} files"
            progress(f"{name} (s)", round(done), round(sum(lengths.values())))

        def hearing(place: int) -> Heard:
            def heard(segments: Sequence[Segment], done: float, total: float) -> None:
                count(place, done / total if total else 1.0)
                if live and detector is None:
                    print_segments(segments)

            return heard

        def read(place: int, purpose: str) -> Iterator[np.ndarray]:
            samples, path = 0, recordings[place]
            for block in read_blocks(path, RATE):
                yield block
                samples += block.size
                progress(f"{purpose} {path.name} (s)", samples // RATE, round(lengths[place]))

        def sound(place: int) -> Iterator[np.ndarray]:
            if detector is None:
                yield from read(place, "reading")
                return
            kept[place] = Kept(find_speech(detector, read(place, "speech in"), FOR_TRANSCRIPTION))
            yield from kept[place].join_blocks(read_blocks(recordings[place], RATE), RATE)

        places = [*lengths]
        sounds, heard = [sound(place) for place in places], [hearing(place) for place in places]
        for number, found in model.transcripts(sounds, language=language, seed=seed, heard=heard, **settings):
            place = places[number]
            count(place, 1.0)
            if isinstance(found, AudioError):
                yield place, _named(found, recordings[place])
                continue
            if detector is not None:
                found = _restored(found, kept[place], model, language)
                if live:
                    print_segments(found.segments)
            yield place, found


def _restored(found: Transcript, kept: Kept, model: BatchTranscriber, language: str | None) -> Transcript:
    """With the times of the whole recording; of silence, empty, in the language that was asked for."""
    from pytorch_to_mlx.tasks import Transcript

    if kept.spans:
        return kept.restore(found)
    return Transcript("", (language and model.known_language(language)) or "", ())


def _named(error: AudioError, path: Path) -> AudioError:
    """An error of the machine's, such as a full disk, names no recording."""
    return error if str(path) in str(error) else type(error)(f"{path}: {error}")


def tell_language(path: Path, transcript: Transcript, model: BatchTranscriber, asked: str | None) -> None:
    """Which language was heard, of a model that knows several, where none was asked for."""
    from pytorch_to_mlx.cli.output import note
    from pytorch_to_mlx.errors import printable

    if asked is None and transcript.language and len(model.languages) > 1:
        note(f"{printable(path.name)}: detected language: {transcript.language}")


def print_segments(segments: Sequence[Segment]) -> None:
    """Each that says something, with its times."""
    from pytorch_to_mlx.errors import printable
    from pytorch_to_mlx.text.subtitles import clock

    for segment in segments:
        if segment.text:
            times = " --> ".join(clock(time, ".", hours=False) for time in (segment.start, segment.end))
            print(f"[{times}] {printable(segment.text.strip())}", flush=True)


def write_all(transcript: Transcript, files: Sequence[Path], layout: Layout) -> list[FolderError]:
    """Write each file that can be written; returns why the others cannot."""
    from pytorch_to_mlx.errors import FolderError
    from pytorch_to_mlx.presentation.transcripts import write

    problems: list[FolderError] = []
    for file in files:
        try:
            write(transcript, file, layout)
        except FolderError as error:
            problems.append(error)
    return problems
