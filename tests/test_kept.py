"""Parts of a recording, joined, and times back in the whole one."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from pytorch_to_mlx import Audio
from pytorch_to_mlx.errors import AudioError, UsageError
from pytorch_to_mlx.service.kept import EDGE, Kept
from pytorch_to_mlx.service.voice_activity import Span
from pytorch_to_mlx.tasks import Segment, Transcript, Word

SPANS = [Span(1.0, 3.0), Span(10.0, 10.5), Span(20.0, 24.0)]
"""Heard from 0 to 2, to 2.5 and to 6.5 seconds."""


def test_samples_are_joined_and_found_again() -> None:
    rate = 8000
    whole = Audio(np.arange(30 * rate, dtype=np.float32), rate)
    kept = Kept(SPANS)
    joined = kept.join(whole)
    assert joined.seconds == kept.seconds == 6.5 and joined.rate == rate
    for place in range(0, joined.samples.size, 999):
        (time, _) = kept.original(place / rate, place / rate)
        assert abs(joined.samples[place] - time * rate) < 1


@pytest.mark.parametrize("size", [1000, 2000, 2500, 24000, 50000])
def test_joined_block_by_block(size: int) -> None:
    samples = np.arange(23000, dtype=np.float32)  # the last span reaches beyond
    kept = Kept(SPANS)
    blocks = list(kept.join_blocks((samples[first : first + size] for first in range(0, samples.size, size)), 1000))
    np.testing.assert_array_equal(np.concatenate(blocks), kept.join(Audio(samples, 1000)).samples)


def test_where_spans_meet_a_middle_decides() -> None:
    kept = Kept(SPANS)
    assert kept.original(1.9, 2.05) == (2.9, 3.0)  # most of it in the first
    assert kept.original(1.95, 2.3) == (10.0, 10.3)  # most of it in the second
    assert kept.original(2.0, 2.0) == (10.0, 10.0)
    assert kept.original(-0.5, 0.2) == (1.0, 1.2) and kept.original(6.4, 9.0) == (23.9, 24.0)


def test_phrases_may_go_on_in_another_span() -> None:
    kept = Kept(SPANS)
    assert kept.original(1.0, 2.3, edge=EDGE) == (2.0, 10.3)
    assert kept.original(1.95, 2.3, edge=EDGE) == (10.0, 10.3)
    assert kept.original(1.0, 2.05, edge=EDGE) == (2.0, 3.0)
    assert kept.original(1.95, 2.05, edge=EDGE) == (10.0, 10.05)


def test_a_transcript_gets_the_times_of_the_whole() -> None:
    words = (Word(" a", 1.0, 1.5, 0.5), Word(" b", 1.9, 2.05, 0.5), Word(" c", 2.6, 3.0, 0.5))
    heard = Transcript(
        " a b c d",
        "en",
        (
            Segment(0.9, 3.1, " a b c", (1, 2), seek=0, words=words),
            Segment(3.1, 3.1, "", words=(), seek=250),
            Segment(4.0, 6.6, " d", (3,), temperature=0.4, seek=300),
        ),
    )
    first, empty, last = Kept(SPANS).restore(heard).segments
    assert first.words == (Word(" a", 2.0, 2.5, 0.5), Word(" b", 2.9, 3.0, 0.5), Word(" c", 20.1, 20.5, 0.5))
    assert (first.start, first.end, first.tokens, first.seek) == (2.0, 20.5, (1, 2), 100)
    assert (empty.start, empty.end, empty.words, empty.seek) == (20.6, 20.6, (), 2000)
    assert (last.start, last.end, last.words, last.temperature, last.seek) == (21.5, 24.0, None, 0.4, 2050)


def test_times_never_go_back() -> None:
    """However words lie: later ones in the joined recording are not earlier in the whole one."""
    draw = np.random.default_rng(0)
    for _ in range(200):
        edges = np.cumsum(draw.choice([0.0, 0.03, 0.4, 7.0], 12)) + np.arange(12) / 16000
        kept = Kept([Span(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True)])
        times = np.sort(draw.uniform(0, kept.seconds, 30))
        found = [kept.original(*pair) for pair in pairwise(times)]
        assert all(start <= end for start, end in found)
        assert all(before <= after for these in zip(*found, strict=True) for before, after in pairwise(these))


def test_nothing_kept() -> None:
    whole = Audio(np.zeros(8000, np.float32), 8000)
    for spans in ([], [Span(2.0, 3.0)]):
        with pytest.raises(AudioError, match="nobody speaks"):
            Kept(spans).join(whole)
    assert Kept([]).seconds == 0


@pytest.mark.parametrize(
    ("spans", "told"),
    [
        ([Span(2.0, 1.0)], "a span from 2.0 to 1.0 s is none"),
        ([Span(-1.0, 1.0)], "a span from -1.0 to 1.0 s is none"),
        ([Span(0.0, 2.0), Span(1.0, 3.0)], "one ends at 2.0 s, the next begins at 1.0 s"),
    ],
)
def test_spans_that_are_none(spans: list[Span], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Kept(spans)
