"""Transcripts as files: text, subtitles (SubRip, WebVTT), tables and JSON, as openai-whisper writes them.

Byte for byte what whisper/utils.py of openai-whisper 20250625 writes of the same result.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from pytorch_to_mlx.errors import FolderError, UsageError
from pytorch_to_mlx.files import drafted
from pytorch_to_mlx.tasks import Segment, Transcript, Word
from pytorch_to_mlx.text.subtitles import Cue, milliseconds, srt, vtt

Format = Literal["txt", "srt", "vtt", "tsv", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)
LONG_PAUSE = 3.0
"""Seconds without a new word, after which words that may cross segments begin another subtitle."""
UNLIMITED = 1000
"""Letters of a line or words of a subtitle, where nothing is asked for."""


@dataclass(frozen=True)
class Layout:
    """How words become subtitles; of transcripts without words it says nothing.

    With width and count, words flow on over the ends of segments. Without one of them each segment begins a subtitle.

    Attributes:
        highlight_words: a subtitle for each word, which is underlined in it.
        max_line_width: letters of a line.
        max_line_count: lines of a subtitle.
        max_words_per_line: words of a subtitle, where segments begin theirs.
    """

    highlight_words: bool = False
    max_line_width: int | None = None
    max_line_count: int | None = None
    max_words_per_line: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_line_width", "max_line_count", "max_words_per_line"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"--{name.replace('_', '-')} is {value}; give 1 or more")

    @property
    def segments_apart(self) -> bool:
        """Whether each segment begins a subtitle."""
        return self.max_line_width is None or self.max_line_count is None


def write(transcript: Transcript, path: str | Path, layout: Layout | None = None) -> None:
    """Write a file in the format that its suffix names; it appears whole or not at all.

    Raises:
        UsageError: the suffix names none of `FORMATS`.
        FolderError: the file cannot be written.
    """
    path = Path(path)
    kinds: dict[str, Format] = {f".{each}": each for each in FORMATS}
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise UsageError(f"{path}: a transcript is written as {', '.join(kinds)}")
    data = render(transcript, kind, layout).encode()
    try:
        with drafted(path) as draft:
            draft.write_bytes(data)
    except OSError as error:
        raise FolderError(f"{path}: cannot be written ({error.strerror})") from error


def render(transcript: Transcript, kind: Format, layout: Layout | None = None) -> str:
    """The content of a file of the format."""
    segments = transcript.segments
    if kind == "json":
        return json.dumps(as_result(transcript))
    if kind == "txt":
        return "".join(f"{segment.text.strip()}\n" for segment in segments)
    if kind == "tsv":
        rows = ((milliseconds(each.start), milliseconds(each.end), _cell(each.text)) for each in segments)
        return "start\tend\ttext\n" + "".join(f"{start}\t{end}\t{text}\n" for start, end, text in rows)
    cues = subtitles(transcript, layout)
    return srt(cues) if kind == "srt" else vtt(cues)


def as_result(transcript: Transcript) -> dict[str, Any]:
    """The dict that whisper.transcribe returns: text, segments (each with its number as id) and language."""
    segments = []
    for number, segment in enumerate(transcript.segments):
        fields = asdict(segment)
        if segment.words is None:
            del fields["words"]
        segments.append({"id": number, "seek": fields.pop("seek")} | fields)
    return {"text": transcript.text, "segments": segments, "language": transcript.language}


def subtitles(transcript: Transcript, layout: Layout | None = None) -> Iterator[Cue]:
    """One for each segment; where all segments have words, as the layout has them."""
    layout = layout or Layout()
    if any(segment.words is None for segment in transcript.segments):
        for segment in transcript.segments:  # an arrow would end the line of times
            yield Cue(segment.start, segment.end, segment.text.strip().replace("-->", "->"))
        return
    for words in _shown_together(transcript.segments, layout):
        if layout.highlight_words:
            yield from _highlighted(words)
        else:
            yield Cue(words[0].start, words[-1].end, "".join(word.word for word in words))


def _shown_together(segments: Sequence[Segment], layout: Layout) -> Iterator[list[Word]]:
    """The words of each subtitle; those that begin a line without the space before, with a line break instead."""
    width, count = layout.max_line_width or UNLIMITED, layout.max_line_count or math.inf
    at_once = layout.max_words_per_line or UNLIMITED
    shown: list[Word] = []
    letters, lines, last = 0, 1, math.inf
    for segment in segments:
        for place, word in enumerate(segment.words or ()):
            ended = layout.segments_apart and place % at_once == 0 and bool(shown)
            paused = not layout.segments_apart and word.start - last > LONG_PAUSE
            last = word.start
            if letters and letters + len(word.word) <= width and not (ended or paused):
                shown.append(word)
                letters += len(word.word)
                continue
            text = word.word.strip()
            if shown and (ended or paused or lines >= count):
                yield shown
                shown, lines, letters = [], 1, 0
            elif letters:
                lines += 1
            shown.append(replace(word, word=f"\n{text}" if letters else text))
            letters = len(text)
    if shown:
        yield shown


def _highlighted(words: Sequence[Word]) -> Iterator[Cue]:
    """The subtitle with each word underlined in turn, and plain in the pauses between."""
    plain, now = "".join(word.word for word in words), words[0].start
    for place, word in enumerate(words):
        if milliseconds(now) != milliseconds(word.start):
            yield Cue(now, word.start, plain)
        before, after = ("".join(each.word for each in some) for some in (words[:place], words[place + 1 :]))
        yield Cue(word.start, word.end, before + _underlined(word.word) + after)
        now = word.end


def _underlined(word: str) -> str:
    """Without the space before it; as upstream, a word that has a line break within stays plain."""
    parts = re.fullmatch(r"(\s*)(.*)(\n?)", word)
    return word if parts is None else f"{parts[1]}<u>{parts[2]}</u>{parts[3]}"


def _cell(text: str) -> str:
    return text.strip().replace("\t", " ")
