"""service/script: scripts of every format, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytorch_to_mlx.errors import ScriptError
from pytorch_to_mlx.service.script import Format, as_segments, parse_script, read_script

SRT = """\ufeff1
00:00:01,000 --> 00:00:04,500 X1:10
<i>Hello</i> there,
two lines.

2
00:00:05,000 --> 00:00:06,000

3
00:01:05.000 --> 00:01:06.000
{\\an8}Again.
"""


def said(text: str, form: Format) -> list[tuple[str, str]]:
    return [(segment.id, segment.text) for segment in parse_script(text, form)]


def test_json() -> None:
    told = [
        {"id": "a-1", "text": " One. ", "voice": "anna.wav", "language": "en", "pause": 0.5},
        {"text": "Two."},
        "Three.",
    ]
    expected = [("a-1", "One."), ("002", "Two."), ("003", "Three.")]
    assert said(json.dumps(told), "json") == said(json.dumps({"segments": told}), "json") == expected
    assert said("\n".join(map(json.dumps, told)) + "\n\n", "jsonl") == expected
    (first, second, _) = parse_script(json.dumps(told), "json")
    assert (first.voice, first.language, first.pause) == ("anna.wav", "en", 0.5)
    assert (second.voice, second.language, second.pause) == (None, None, None)


def test_csv() -> None:
    text = 'id,text,pause,voice\nintro,"One, two.",0.5,\n,"Line\nbreak.",,anna.wav\n'
    assert said(text, "csv") == [("intro", "One, two."), ("002", "Line\nbreak.")]
    first, second = parse_script(text, "csv")
    assert (first.pause, first.voice, second.pause, second.voice) == (0.5, None, None, "anna.wav")


def test_subtitles_and_paragraphs(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text(SRT, encoding="utf-8")
    found = read_script(tmp_path / "a.srt")
    assert [(each.id, each.text) for each in found] == [("001", "Hello there, two lines."), ("002", "Again.")]
    assert said("One\ntwo.\n\n\n  \nThree.\n", "txt") == [("001", "One two."), ("002", "Three.")]


def test_numbers_are_as_wide_as_needed() -> None:
    assert [id_ for id_, _ in said("\n\n".join("x" * 1000), "txt")][::999] == ["0001", "1000"]


@pytest.mark.parametrize(
    ("text", "form", "message"),
    [
        ("", "txt", "has no segment"),
        ("[]", "json", "has no segment"),
        ("{", "json", "is no JSON"),
        ("3", "json", "must be a list of segments"),
        ('[{"text": "a"}, 3]', "json", "segment 2: must be an object"),
        ('[{"text": ""}]', "json", "segment 1: text: must be what to say"),
        ('[{"id": "a"}]', "json", "segment 1: text: "),
        ('[{"text": "a", "volume": 3}]', "json", "segment 1: volume: no segment has that; its fields are id, text"),
        ('[{"text": "a", "pause": -1}]', "json", "segment 1: pause"),
        ('[{"text": "a", "speed": 3}]', "json", "segment 1: speed"),
        ('[{"text": "a", "ref_text": "b"}]', "json", "segment 1: ref_text: .* name that as voice"),
        ('[{"text": "a", "id": "../a"}]', "json", "segment 1: id: '../a' cannot name a file"),
        ('[{"text": "a", "id": true}]', "json", "segment 1: id"),
        ('[{"text": "a", "id": "' + "語" * 90 + '"}]', "json", "segment 1: id: .*too long for a file's name"),
        ('[{"text": "a", "id": "\u00e9"}, {"text": "b", "id": "e\u0301"}]', "json", "two segments have the id"),
        ('[{"text": "a", "id": ["x"]}]', "json", "segment 1: id"),
        ('[{"text": "a", "id": "A"}, {"text": "b", "id": "a"}]', "json", "two segments have the id 'a'"),
        ('{"text": "a"}\n{', "jsonl", "line 2: is no JSON"),
        ("id,words\na,b\n", "csv", "text among them"),
        ("id,text\na,b,c\n", "csv", "line 2: has another number of columns"),
        ("text,pause\na,long\n", "csv", "line 2: pause: 'long' is no number"),
        ("text,speed\na,fast\n", "csv", "line 2: speed: 'fast' is no number"),
        ("1\nHello.\n", "srt", "begins with no subtitle"),
    ],
)
def test_what_is_wrong_is_told(text: str, form: Format, message: str) -> None:
    with pytest.raises(ScriptError, match=message):
        parse_script(text, form)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_bytes(b"x")
    (tmp_path / "b.txt").write_bytes("Grüße".encode("latin-1"))
    for name, message in (("a.docx", "use .json"), ("b.txt", "no text in UTF-8"), ("c.txt", "cannot be read")):
        with pytest.raises(ScriptError, match=message):
            read_script(tmp_path / name)


def test_recordings_lie_beside_the_script(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("text,voice,speed\nHi.,anna.wav,1.5\nHi.,ryan,\nHi.,/far/ben.wav,\n")
    segments = read_script(tmp_path / "s.csv")
    assert [segment.voice for segment in segments] == [str(tmp_path / "anna.wav"), "ryan", "/far/ben.wav"]
    assert [segment.speed for segment in segments] == [1.5, None, None]
    (given,) = parse_script('[{"text": "Hi.", "voice": "anna.wav"}]', "json")
    assert given.voice == "anna.wav"
    assert as_segments(segments) == segments and as_segments(tmp_path / "s.csv") == segments
    assert [segment.id for segment in as_segments(["a", {"text": "b", "id": "x"}])] == ["001", "x"]


def test_what_programs_write() -> None:
    """Subtitles without a line between them, signs that are no markup, separators within JSON, long fields."""
    close = "1\n00:00:01,000 --> 00:00:02,000\nI <3 you, a > b.\n2\n00:00:05,000 --> 00:00:06,000\n<b>Bye.</b>"
    assert said(close, "srt") == [("001", "I <3 you, a > b."), ("002", "Bye.")]
    assert said('{"text": "a\u2028b"}\n"c"', "jsonl") == [("001", "a\u2028b"), ("002", "c")]
    assert len(said(f"text\n{'x' * 200_000}\n", "csv")[0][1]) == 200_000
