"""Segments joined to one track: with chapter marks in the file, and subtitles beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pytorch_to_mlx.audio import Audio, file_format
from pytorch_to_mlx.errors import MissingDependencyError, UsageError
from pytorch_to_mlx.files import drafted
from pytorch_to_mlx.service.job import Result
from pytorch_to_mlx.service.script import Segment

MOST_LETTERS = 84
"""Of a subtitle: two lines of 42, as broadcasters have them."""
SUBTITLES = ".srt"


@dataclass(frozen=True)
class Chapter:
    """A segment within a track, times in seconds."""

    title: str
    text: str
    start: float
    end: float


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
        subtitles.write_text("".join(_cues(chapters)), encoding="utf-8")
    return chapters


def _mark(path: Path, kind: str, chapters: Sequence[Chapter]) -> None:
    """Chapters as players look for them: in Vorbis comments, or in an ID3 tag."""
    try:
        from mutagen import id3
        from mutagen._file import File
    except ImportError as error:
        raise MissingDependencyError(
            "chapter marks need mutagen; install it with: pip install 'pytorch-to-mlx[narrate]'"
        ) from error
    tagged: Any = File(path)
    if tagged is None:  # a format that holds no tags, such as AU
        return
    if kind in ("FLAC", "OGG"):
        for number, chapter in enumerate(chapters):
            tagged[f"CHAPTER{number:03d}"] = [_clock(chapter.start, ".")]
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
    flags = id3.CTOCFlags.TOP_LEVEL | id3.CTOCFlags.ORDERED
    for first in range(0, len(names), 255):  # as many as a table may hold
        tags.add(id3.CTOC(f"toc{first}", flags=flags, child_element_ids=names[first : first + 255]))
    tagged.save()


def _cues(chapters: Sequence[Chapter]) -> Iterator[str]:
    """Subtitles: a segment of two lines at most at a time, each as long as its share of the letters."""
    number = 0
    for chapter in chapters:
        pieces = _pieces(chapter.text)
        letters, done = sum(map(len, pieces)), 0
        for piece in pieces:
            start, done, number = done, done + len(piece), number + 1
            times = [chapter.start + (chapter.end - chapter.start) * at / letters for at in (start, done)]
            yield f"{number}\n{_clock(times[0])} --> {_clock(times[1])}\n{_lines(piece)}\n\n"


def _pieces(text: str) -> list[str]:
    """Pieces of about the same length, cut between words."""
    words, count = text.split(), -(-len(text) // MOST_LETTERS)
    goal = len(text) / count
    pieces, taken = [""], 0
    for word in words:
        if pieces[-1] and (taken + len(word) / 2 > goal * len(pieces) or len(pieces[-1]) + len(word) >= MOST_LETTERS):
            pieces.append("")
        pieces[-1] = f"{pieces[-1]} {word}".strip()
        taken += len(word) + 1
    return [piece for piece in pieces if piece]


def _lines(text: str) -> str:
    if len(text) <= MOST_LETTERS // 2 or " " not in text:
        return text
    middle = min(
        (place for place, sign in enumerate(text) if sign == " "), key=lambda place: abs(2 * place - len(text))
    )
    return f"{text[:middle]}\n{text[middle + 1 :]}"


def _clock(seconds: float, point: str = ",") -> str:
    whole, milliseconds = divmod(round(1000 * seconds), 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{point}{milliseconds:03d}"
