"""Subtitles as files: SubRip and WebVTT."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Cue:
    """What is shown for a while.

    Attributes:
        start, end: in seconds.
        text: one line or several.
    """

    start: float
    end: float
    text: str


def milliseconds(seconds: float) -> int:
    """As subtitles count, halves to even numbers."""
    return round(1000 * seconds)


def clock(seconds: float, point: str = ",", *, hours: bool = True) -> str:
    """A time such as 01:02:03,456. Without `hours`, they are shown only where there are some."""
    whole, rest = divmod(milliseconds(seconds), 1000)
    first = f"{whole // 3600:02d}:" if hours or whole >= 3600 else ""
    return f"{first}{whole // 60 % 60:02d}:{whole % 60:02d}{point}{rest:03d}"


def srt(cues: Iterable[Cue]) -> str:
    """A file of SubRip."""
    return "".join(
        f"{number}\n{clock(cue.start)} --> {clock(cue.end)}\n{cue.text}\n\n" for number, cue in enumerate(cues, 1)
    )


def vtt(cues: Iterable[Cue]) -> str:
    """A file of WebVTT."""
    times = ((clock(cue.start, ".", hours=False), clock(cue.end, ".", hours=False), cue.text) for cue in cues)
    return "WEBVTT\n\n" + "".join(f"{start} --> {end}\n{text}\n\n" for start, end, text in times)
