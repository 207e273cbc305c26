"""Files of transcripts: byte for byte openai-whisper's (goldens from `tests/record_transcript_goldens.py`)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transcripts import OPTIONS, RICH, drawn, transcript

from pytorch_to_mlx.errors import FolderError, UsageError
from pytorch_to_mlx.presentation.transcripts import FORMATS, Format, Layout, as_result, render, write
from pytorch_to_mlx.text.subtitles import clock

GOLDEN = json.loads((Path(__file__).parent / "goldens" / "transcripts.json").read_text(encoding="utf-8"))
SUBTITLES: tuple[Format, ...] = ("srt", "vtt")


def digest(texts: list[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", RICH)
@pytest.mark.parametrize("kind", FORMATS)
def test_files_are_upstreams(name: str, kind: Format, tmp_path: Path) -> None:
    path = tmp_path / f"said.{kind}"
    write(transcript(RICH[name]), path)
    assert path.read_bytes() == GOLDEN["plain"][name][kind].encode()


@pytest.mark.parametrize("shown", GOLDEN["shown"], ids=lambda shown: "-".join(shown["options"]))
def test_subtitles_of_words_are_upstreams(shown: dict[str, Any]) -> None:
    assert render(transcript(RICH["words"]), "srt", Layout(**shown["options"])) == shown["srt"]


@pytest.mark.parametrize("place", range(len(OPTIONS)), ids=lambda place: "-".join(map(str, OPTIONS[place].values())))
def test_every_layout_is_upstreams(place: int) -> None:
    texts = [render(transcript(RICH["words"]), kind, Layout(**OPTIONS[place])) for kind in SUBTITLES]
    assert digest(texts) == GOLDEN["options"][place]


def test_layouts_differ() -> None:
    """Else hashes would be of one file over and over."""
    assert len(set(GOLDEN["options"])) > 20 and len(set(GOLDEN["drawn"])) > 0.9 * len(GOLDEN["drawn"])


def test_what_is_drawn_by_chance_is_upstreams() -> None:
    wrong = [
        seed
        for seed, expected in enumerate(GOLDEN["drawn"])
        if digest([render(transcript(drawn(seed)), kind, Layout(**OPTIONS[seed % len(OPTIONS)])) for kind in FORMATS])
        != expected
    ]
    assert not wrong and len(GOLDEN["drawn"]) == 200


def test_the_result_is_upstreams() -> None:
    for result in RICH.values():
        assert json.loads(json.dumps(as_result(transcript(result)))) == result


def test_words_count_where_all_segments_have_them() -> None:
    """Upstream fails on a mixture (KeyError)."""
    whole = transcript(RICH["words"])
    mixed = replace(whole, segments=(whole.segments[0], replace(whole.segments[2], words=None)))
    assert render(mixed, "srt").count(" --> ") == 2


def test_suffixes_that_are_no_format(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a\.doc: a transcript is written as \.txt, \.srt, \.vtt, \.tsv, \.json"):
        write(transcript(RICH["plain"]), tmp_path / "a.doc")


def test_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.JSON"
    write(transcript(RICH["plain"]), path)
    before = path.read_bytes()

    def fail(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(FolderError, match=r"a\.JSON: cannot be written \(No space left on device\)"):
        write(transcript(RICH["words"]), path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_folders_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"none.a\.txt: cannot be written"):
        write(transcript(RICH["plain"]), tmp_path / "none" / "a.txt")


@pytest.mark.parametrize("name", ["max_line_width", "max_line_count", "max_words_per_line"])
def test_layouts_of_nothing(name: str) -> None:
    nothing: dict[str, Any] = {name: 0}
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} is 0; give 1 or more"):
        Layout(**nothing)


def test_the_clock() -> None:
    assert clock(3599.9996) == "01:00:00,000" and clock(0.0005) == "00:00:00,000"
    assert clock(61.25, ".", hours=False) == "01:01.250" and clock(3600, ".", hours=False) == "01:00:00.000"
