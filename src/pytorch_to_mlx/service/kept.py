"""Parts of a recording, joined; and when in the whole one was said what is heard in the joined one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from math import inf

import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.errors import AudioError, UsageError
from pytorch_to_mlx.service.voice_activity import Span
from pytorch_to_mlx.tasks import Segment, Transcript, Word

EDGE = 0.1
"""Seconds of a span that a phrase may touch without being counted to it: transcribers are no more exact than this."""


class Kept:
    """Spans of a recording, joined.

    Attributes:
        spans: in order.
        seconds: of all of them.
    """

    def __init__(self, spans: Sequence[Span]) -> None:
        """Of spans that do not overlap, in order; they may touch.

        Raises:
            UsageError: they overlap, or one ends before it begins.
        """
        for span in spans:
            if not 0 <= span.start < span.end:
                raise UsageError(f"a span from {span.start} to {span.end} s is none; spans begin before they end")
        for before, after in pairwise(spans):
            if after.start < before.end:
                raise UsageError(f"spans overlap: one ends at {before.end} s, the next begins at {after.start} s")
        self.spans = tuple(spans)
        *self._starts, self.seconds = accumulate((span.end - span.start for span in spans), initial=0.0)

    def join(self, audio: Audio) -> Audio:
        """The recording's samples in the spans, one after the other.

        Raises:
            AudioError: there are none: no spans, or none within the recording.
        """
        parts = [audio.samples[round(s.start * audio.rate) : round(s.end * audio.rate)] for s in self.spans]
        if not sum(part.size for part in parts):
            raise AudioError("nothing of the recording is kept: nobody speaks in it")
        return Audio(np.concatenate(parts), audio.rate)

    def join_blocks(self, blocks: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
        """As `join`, of samples (n,) that come some at a time."""
        parts = iter([(round(s.start * rate), round(s.end * rate)) for s in self.spans])
        part, first = next(parts, None), 0
        for block in blocks:
            last = first + block.size
            while part is not None and part[0] < last:
                yield block[max(part[0] - first, 0) : part[1] - first]
                if part[1] > last:
                    break
                part = next(parts, None)
            first = last

    def original(self, start: float, end: float, *, edge: float = inf) -> tuple[float, float]:
        """When something was said that is heard from `start` to `end` of the joined recording, in seconds.

        It begins in one span and ends in the same or a later one. What reaches into a span by no more than `edge`
        seconds is not counted to it; by default, all is counted to the span of its middle.
        """
        edge = min(edge, (end - start) / 2)
        return self._within(start, self._place(start + edge)), self._within(end, self._place(end - edge))

    def restore(self, transcript: Transcript) -> Transcript:
        """The transcript of the joined recording with the times of the whole one.

        A word lies within one span, that of its middle, and a segment lasts from its first word to its last, as
        faster-whisper has it (its transcribe.py). `Segment.seek` is where the window begins in the whole recording.
        """
        return replace(transcript, segments=tuple(map(self._restored, transcript.segments)))

    def _restored(self, segment: Segment) -> Segment:
        words = segment.words and tuple(self._restored_word(word) for word in segment.words)
        start, end = (words[0].start, words[-1].end) if words else self.original(segment.start, segment.end, edge=EDGE)
        seek = round(100 * self.original(segment.seek / 100, segment.seek / 100)[0])
        return replace(segment, start=start, end=end, seek=seek, words=words)

    def _restored_word(self, word: Word) -> Word:
        start, end = self.original(word.start, word.end)
        return replace(word, start=start, end=end)

    def _place(self, time: float) -> int:
        """Of the span that is heard then: the first one for what is earlier, the last one for what is later."""
        return max(0, bisect_right(self._starts, time) - 1)

    def _within(self, time: float, place: int) -> float:
        """The original time, within a span; rounded, since sums of binary numbers end in many digits."""
        span = self.spans[place]
        return round(min(max(span.start + time - self._starts[place], span.start), span.end), 5)
