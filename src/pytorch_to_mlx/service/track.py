"""Segments joined to one track: with chapter marks in the file, and subtitles beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from pytorch_to_mlx.audio import Audio, file_format
from pytorch_to_mlx.errors import MissingDependencyError, UsageError
from pytorch_to_mlx.files import drafted
from pytorch_to_mlx.service.job import Result
from pytorch_to_mlx.service.script import Segment
from pytorch_to_mlx.text.subtitles import Cue, clock, srt

MOST_LETTERS = 84
"""Of a subtitle: two lines of 42, as broadcasters have them."""
SUBTITLES = ".srt"
MOST_OF_A_TABLE = 255
"""Chapters that one table of contents of ID3 holds."""


@dataclass(frozen=True)
class Chapter:
    """A segment within a track, times in seconds."""

    title: str
    text: str
    start: float
    end: float


def check_track(path: Path) -> None:
    """Whether a track can be written, before the work rather than after it.

    Raises:
        AudioError: the suffix names no format.
        MissingDependencyError: mutagen is not installed.
    """
    file_format(path)
    if find_spec("mutagen") is None:
        raise MissingDependencyError(
            "chapter marks need mutagen; install it with: pip install 'pytorch-to-mlx[narrate]'"
        )


def join(results: Sequence[Result], segments: Sequence[Segment], pause: float, path: Path) -> list[Chapter]:
    """Write one track of all segments that were said, with chapters, and its subtitles as `.srt` beside it.

    Args:
        results, segments: in the script's order.
        pause: seconds of silence after a segment that names none.
        path: of the track.

    Raises:
        UsageError: nothing was said, so there is nothing to join.
        AudioError: the suffix names no format.
    """
    import soundfile

    kind = file_format(path)
    said = [(result, segment) for result, segment in zip(results, segments, strict=True) if result.path is not None]
    if not said:
        raise UsageError(f"{path}: no segment was said, so there is nothing to join")
    rate, now = said[0][0].sample_rate, 0
    subtype = "PCM_16" if soundfile.check_format(kind, "PCM_16") else None
    chapters: list[Chapter] = []
    with drafted(path) as draft, drafted(path.with_suffix(SUBTITLES)) as subtitles:
        with soundfile.SoundFile(draft, "w", rate, 1, format=kind, subtype=subtype) as file:
            for place, (result, segment) in enumerate(said):
                assert result.path is not None
                samples = Audio.read(result.path).resampled(rate).samples
                file.write(samples)
                chapters.append(Chapter(segment.id, segment.text, now / rate, (now + samples.size) / rate))
                last = place + 1 == len(said)
                seconds = 0.0 if last else pause if segment.pause is None else segment.pause
                silence = round(seconds * rate)
                file.write(np.zeros(silence, np.float32))
                now += samples.size + silence
        _mark(draft, kind, chapters)
        subtitles.write_text(srt(_cues(chapters)), encoding="utf-8")
    return chapters


def _mark(path: Path, kind: str, chapters: Sequence[Chapter]) -> None:
    """Chapters as players look for them: in Vorbis comments, or in an ID3 tag."""
    from mutagen import File, id3  # type: ignore[attr-defined]

    tagged: Any = File(path)
    if tagged is None:  # a format that holds no tags, such as AU
        return
    if kind in ("FLAC", "OGG"):
        for number, chapter in enumerate(chapters):
            tagged[f"CHAPTER{number:03d}"] = [clock(chapter.start, ".")]
            tagged[f"CHAPTER{number:03d}NAME"] = [chapter.title]
        tagged.save()
        return
    if tagged.tags is None:
        tagged.add_tags()
    tags: Any = tagged.tags
    names = [f"chp{number}" for number in range(len(chapters))]
    for name, chapter in zip(names, chapters, strict=True):
        title = [id3.TIT2(encoding=id3.Encoding.UTF8, text=[chapter.title])]
        start, end = (round(1000 * time) for time in (chapter.start, chapter.end))
        unknown = 0xFFFFFFFF  # players then go by the times
        tags.add(
            id3.CHAP(name, start_time=start, end_time=end, start_offset=unknown, end_offset=unknown, sub_frames=title)
        )
    tables = [names[first : first + MOST_OF_A_TABLE] for first in range(0, len(names), MOST_OF_A_TABLE)]
    inner = [f"toc{number}" for number in range(1, len(tables) + 1)] if len(tables) > 1 else []
    for name, children in zip(inner, tables, strict=False):
        tags.add(id3.CTOC(name, flags=id3.CTOCFlags.ORDERED, child_element_ids=children))
    flags = id3.CTOCFlags.TOP_LEVEL | id3.CTOCFlags.ORDERED
    tags.add(id3.CTOC("toc", flags=flags, child_element_ids=inner or names))
    tagged.save()


def _cues(chapters: Sequence[Chapter]) -> Iterator[Cue]:
    """Subtitles: a segment of two lines at most at a time, each as long as its share of the letters."""
    for chapter in chapters:
        pieces = _pieces(chapter.text)
        letters, done = sum(map(len, pieces)), 0
        for piece in pieces:
            start, done = done, done + len(piece)
            times = [chapter.start + (chapter.end - chapter.start) * at / letters for at in (start, done)]
            yield Cue(times[0], times[1], _lines(piece))


def _pieces(text: str) -> list[str]:
    """Pieces of about the same length, each of two lines at most."""
    count = -(-len(text) // MOST_LETTERS)
    while True:
        pieces = wrap(text, -(-len(text) // count) + 1)
        if all(len(wrap(piece, MOST_LETTERS // 2)) <= 2 for piece in pieces):
            return pieces
        count += 1


def _lines(text: str) -> str:
    if len(text) <= MOST_LETTERS // 2:
        return text
    even = wrap(text, len(text) // 2 + 4)
    lines = even if len(even) <= 2 and max(map(len, even)) <= MOST_LETTERS // 2 else wrap(text, MOST_LETTERS // 2)
    return "\n".join(lines)
