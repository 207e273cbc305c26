"""Tracks of narrations: chapters, subtitles, and what they may not write over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mutagen import File  # type: ignore[attr-defined]
from small_narration import RATE, SEGMENTS, job, write_narrator

from pytorch_to_mlx import Audio
from pytorch_to_mlx.errors import UsageError
from pytorch_to_mlx.service.cache import ResultCache
from pytorch_to_mlx.service.job import Result
from pytorch_to_mlx.service.narration import narrate
from pytorch_to_mlx.service.script import as_segments
from pytorch_to_mlx.service.track import join


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_narrator(tmp_path_factory.mktemp("narration"))


@pytest.fixture
def cache(tmp_path: Path) -> ResultCache:
    return ResultCache(tmp_path / "cache")


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_a_track_has_chapters_and_subtitles(room: Path, tmp_path: Path, suffix: str) -> None:
    cache = ResultCache(room / "cache")
    track = tmp_path / f"book{suffix}"
    script = [{**SEGMENTS[0], "pause": 1.0}, *SEGMENTS[1:3]]
    narration = narrate(script, tmp_path / "out", job(room), cache=cache, track=track, pause=0.25)
    lengths = [result.duration for result in narration.results]
    starts = [0.0, lengths[0] + 1.0, lengths[0] + 1.0 + lengths[1] + 0.25]
    np.testing.assert_allclose([each.start for each in narration.chapters], starts, atol=1e-3)
    whole = Audio.read(track)
    assert abs(whole.seconds - starts[2] - lengths[2]) < 0.1
    pause = whole.part(lengths[0] + 0.2, starts[1] - 0.2).samples
    assert np.abs(pause).max() < 1e-3 < np.abs(whole.part(0, lengths[0]).samples).max()
    tags: Any = File(track)
    if suffix in (".flac", ".ogg"):
        assert [tags[f"CHAPTER{n:03d}NAME"][0] for n in range(3)] == ["s0", "s1", "s2"]
        assert tags["CHAPTER001"] == [f"00:00:{starts[1]:06.3f}"]
    else:
        chapters = [tags.tags[f"CHAP:chp{n}"] for n in range(3)]
        assert [str(each.sub_frames["TIT2"]) for each in chapters] == ["s0", "s1", "s2"]
        np.testing.assert_allclose([each.start_time / 1000 for each in chapters], starts, atol=2e-3)
        assert tags.tags["CTOC:toc"].child_element_ids == ["chp0", "chp1", "chp2"]
    cues = track.with_suffix(".srt").read_text()
    assert cues.startswith("1\n00:00:00,000 --> ") and "Three is said here." in cues


def test_long_segments_have_several_subtitles(room: Path, tmp_path: Path, cache: ResultCache) -> None:
    text = (
        "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness."
    )
    narrate([text], tmp_path / "out", job(room), cache=cache, track=tmp_path / "t.wav")
    blocks = (tmp_path / "t.srt").read_text().strip().split("\n\n")
    lines = [line for block in blocks for line in block.splitlines()[2:]]
    assert len(blocks) == 2 and " ".join(lines) == text and max(map(len, lines)) <= 42
    ends = [block.splitlines()[1].split(" --> ") for block in blocks]
    assert ends[0][1] == ends[1][0] and ends[0][0] == "00:00:00,000"


def test_nothing_that_is_read_is_written_over(room: Path, tmp_path: Path, cache: ResultCache) -> None:
    script = tmp_path / "lesson.srt"
    script.write_text("1\n00:00:01,000 --> 00:00:02,000\nHi.\n")
    with pytest.raises(UsageError, match=r"lesson\.srt is read by the job"):
        narrate(script, tmp_path / "out", job(room), cache=cache, track=tmp_path / "lesson.wav")
    with pytest.raises(UsageError, match=r"anna\.wav is read by the job"):
        narrate([{"id": "anna", "text": "Hi."}], room, job(room), cache=cache)
    with pytest.raises(UsageError, match=r"b\.wav would be a segment and the track"):
        narrate([{"id": "b", "text": "Hi."}], tmp_path, job(room), cache=cache, track=tmp_path / "b.wav")
    assert script.read_text().startswith("1\n00:00:01") and not cache.entries()


def test_long_books_have_nested_chapters_and_wide_letters_two_lines(tmp_path: Path) -> None:
    sound = Audio(np.full(240, 0.1, np.float32), RATE)
    sound.write(tmp_path / "one.wav")
    segments = as_segments([{"id": f"c{n}", "text": "春眠不覚暁" * 30 if n == 0 else "Hi."} for n in range(300)])
    results = [Result(segment.id, tmp_path / "one.wav", 0.01, RATE) for segment in segments]
    join(results, segments, 0.0, tmp_path / "book.mp3")
    tags: Any = File(tmp_path / "book.mp3")
    assert tags.tags["CTOC:toc"].child_element_ids == ["toc1", "toc2"]
    assert tags.tags["CTOC:toc2"].child_element_ids[-1] == "chp299"
    blocks = (tmp_path / "book.srt").read_text().strip().split("\n\n")
    lines = [block.splitlines()[2:] for block in blocks]
    assert max(map(len, lines)) == 2 and max(len(line) for block in lines for line in block) <= 42
    assert "".join("".join(block) for block in lines[:-299]) == "春眠不覚暁" * 30
