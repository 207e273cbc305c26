"""What is to be said: scripts of segments, from JSON, JSON lines, CSV, SRT or plain text."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal
from unicodedata import normalize

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from pytorch_to_mlx.audio.tempo import FASTEST, SLOWEST
from pytorch_to_mlx.errors import ScriptError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Format = Literal["json", "jsonl", "csv", "srt", "txt"]
SUFFIXES: dict[str, Format] = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".srt": "srt",
    ".txt": "txt",
    ".md": "txt",
}
MOST_BYTES = 64 * 2**20
MOST_BYTES_OF_ID = 200
_TIME = r"\d+:\d\d:\d\d[,.]\d{3}"
_CUE = re.compile(rf"^(?:\d+[^\S\n]*\n)?[^\S\n]*{_TIME}\s*-->\s*{_TIME}[^\n]*$", re.MULTILINE)
_BLENDED = re.compile(r"[\w-]+(?::[\d.]+)?(?:[+,][\w-]+(?::[\d.]+)?)*")
"""Names of voices, with shares: af_heart:0.6+am_adam:0.4."""
_MARKUP = re.compile(r"</?[A-Za-z][^<>]{0,40}>|\{\\[^{}]{1,40}\}")


def _fits_a_name(id_: str) -> str:
    if len(id_.encode()) > MOST_BYTES_OF_ID:
        raise ValueError(f"more than {MOST_BYTES_OF_ID} bytes, too long for a file's name")
    return id_


class Segment(BaseModel):
    """One thing to say.

    Attributes:
        id: also the name of its file; numbers where the script gives none.
        text: what to say.
        voice: a recording or a prepared voice, or the name of a voice that the model has; the job's own if None.
        ref_text: what that recording says.
        language: name or code.
        speed: 1 is the model's own; the job's own if None.
        pause: seconds of silence after it, in the joined track; the job's own if None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=r"^[\w][\w.-]{0,99}$"), AfterValidator(_fits_a_name)]
    text: Annotated[str, Field(min_length=1)]
    voice: str | None = None
    ref_text: str | None = None
    language: str | None = None
    speed: Annotated[float, Field(ge=SLOWEST, le=FASTEST)] | None = None
    pause: Annotated[float, Field(ge=0, le=3600)] | None = None


@dataclass(frozen=True)
class _Found:
    """Fields as they stand in a script, and where."""

    where: str
    fields: Mapping[str, Any]


def read_script(path: Path) -> list[Segment]:
    """The segments of a file, by its suffix.

    Raises:
        ScriptError: it cannot be read, or a segment is not as it should be.
    """
    form = SUFFIXES.get(path.suffix.lower())
    if form is None:
        raise ScriptError(f"{path}: no script is called {path.suffix or 'so'}; use {', '.join(SUFFIXES)}")
    try:
        with path.open("rb") as file:
            return read_stream(file, form, name=str(path), folder=path.parent)
    except OSError as error:
        raise ScriptError(f"{path}: cannot be read ({error.strerror})") from error


def read_stream(file: BinaryIO, form: Format, *, name: str, folder: Path = Path()) -> list[Segment]:
    """As `parse_script`, from bytes.

    Raises:
        ScriptError: as `read_script`.
        OSError: the stream cannot be read.
    """
    data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ScriptError(f"{name}: more than {MOST_BYTES} bytes; split it")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ScriptError(f"{name}: is no text in UTF-8; save it as such") from error
    return parse_script(text, form, name=name, folder=folder)


def parse_script(text: str, form: Format, *, name: str = "the script", folder: Path = Path()) -> list[Segment]:
    """The segments of a script.

    Args:
        text: of the script.
        form: which it has.
        name: stands in messages.
        folder: what files that it names are relative to.

    Raises:
        ScriptError: as `read_script`.
    """
    return _segments(list(_READERS[form](text, name)), name, folder)


def as_segments(script: Path | str | Sequence[Segment | dict[str, Any] | str]) -> list[Segment]:
    """Segments of a file, or of objects and texts as a JSON script has them.

    Raises:
        ScriptError: as `read_script`.
    """
    if isinstance(script, Path | str):
        return read_script(Path(script))
    given = [each.model_dump() if isinstance(each, Segment) else each for each in script]
    places = [f"segment {number}" for number in range(1, len(given) + 1)]
    return _segments(list(_objects(given, places, "the script")), "the script", Path())


def _segments(found: Sequence[_Found], name: str, folder: Path) -> list[Segment]:
    if not found:
        raise ScriptError(f"{name}: has no segment")
    width = max(3, len(str(len(found))))
    segments = [_checked(each, f"{number:0{width}d}", name, folder) for number, each in enumerate(found, start=1)]
    twice = [
        id_
        for id_, count in Counter(normalize("NFC", segment.id).casefold() for segment in segments).items()
        if count > 1
    ]
    if twice:
        raise ScriptError(f"{name}: two segments have the id {twice[0]!r}, and so would have one file; rename one")
    return segments


def is_file(voice: str) -> bool:
    """Whether a voice is a file; else it is the name of one that the model has."""
    return os.sep in voice or ("." in Path(voice).name and not _BLENDED.fullmatch(voice.replace(" ", "")))


def _checked(found: _Found, number: str, name: str, folder: Path) -> Segment:
    fields = {key: value for key, value in found.fields.items() if value is not None}
    fields["text"] = fields["text"].strip() if isinstance(fields.get("text"), str) else fields.get("text")
    given = fields.get("id", number)
    fields["id"] = str(given) if isinstance(given, int) and not isinstance(given, bool) else given
    if isinstance(voice := fields.get("voice"), str) and is_file(voice):
        fields["voice"] = str(folder / voice)
    if fields.get("ref_text") is not None and fields.get("voice") is None:
        raise ScriptError(f"{name}, {found.where}: ref_text: says what a recording says; name that as voice")
    try:
        return Segment.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise ScriptError(f"{name}, {found.where}: {field}: {_why(first, field)}") from error


def _why(error: ErrorDetails, field: str) -> str:
    """What is wrong with a field, in words for people who write scripts."""
    if error["type"] == "extra_forbidden":
        return f"no segment has that; its fields are {', '.join(Segment.model_fields)}"
    if error["type"] == "string_pattern_mismatch":
        return f"{error['input']!r} cannot name a file; use up to 100 letters, digits, points and hyphens"
    if field == "text":
        return "must be what to say"
    return error["msg"].removeprefix("Value error, ").replace("Input should", "should")


def _json(text: str, name: str) -> Iterator[_Found]:
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ScriptError(f"{name}: is no JSON ({error})") from error
    told = told.get("segments") if isinstance(told, dict) else told
    if not isinstance(told, list):
        raise ScriptError(f'{name}: must be a list of segments, or {{"segments": [...]}}')
    yield from _objects(told, [f"segment {number}" for number in range(1, len(told) + 1)], name)


def _json_lines(text: str, name: str) -> Iterator[_Found]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                told = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ScriptError(f"{name}, line {number}: is no JSON ({error})") from error
            yield from _objects([told], [f"line {number}"], name)


def _objects(told: Sequence[Any], places: Sequence[str], name: str) -> Iterator[_Found]:
    for each, where in zip(told, places, strict=True):
        if isinstance(each, str):
            each = {"text": each}
        if not isinstance(each, dict):
            raise ScriptError(f"{name}, {where}: must be an object with a text")
        yield _Found(where, each)


def _csv(text: str, name: str) -> Iterator[_Found]:
    csv.field_size_limit(MOST_BYTES)
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if "text" not in (reader.fieldnames or ()):
        raise ScriptError(f"{name}: the first line must name the columns, text among them")
    for row in reader:
        where = f"line {reader.line_num}"
        if None in row or None in row.values():
            raise ScriptError(f"{name}, {where}: has another number of columns than the first line; quote commas")
        fields: dict[str, Any] = {key: value for key, value in row.items() if value}
        for column in fields.keys() & {"speed", "pause"}:
            try:
                fields[column] = float(fields[column])
            except ValueError as error:
                raise ScriptError(f"{name}, {where}: {column}: {fields[column]!r} is no number") from error
        yield _Found(where, fields)


def _srt(text: str, name: str) -> Iterator[_Found]:
    text = text.replace("\r\n", "\n").strip()
    starts = [found.start() for found in _CUE.finditer(text)]
    if text and (not starts or starts[0]):
        raise ScriptError(f"{name}: begins with no subtitle: a number, a line of times, and a text")
    for number, (start, end) in enumerate(pairwise([*starts, len(text)]), start=1):
        cue = _CUE.match(text, start, end)
        assert cue is not None
        said = " ".join(_MARKUP.sub("", text[cue.end() : end]).split())
        if said:
            yield _Found(f"subtitle {number}", {"text": said})


def _plain(text: str, name: str) -> Iterator[_Found]:
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text), start=1):
        if said := " ".join(paragraph.split()):
            yield _Found(f"paragraph {number}", {"text": said})


_READERS = {"json": _json, "jsonl": _json_lines, "csv": _csv, "srt": _srt, "txt": _plain}
