"""Which tokens may come next (the logit filters of whisper/decoding.py), decided where the logits are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.layers.peaks import peaks
from pytorch_to_mlx.models.whisper.vocabulary import Vocabulary


class History(NamedTuple):
    """Of each sequence, (B,) int32: the last token written, the one before it, and the last time; -1 for none."""

    last: mx.array
    before: mx.array
    time: mx.array

    @classmethod
    def empty(cls, batch: int) -> History:
        """Nothing is written yet."""
        nothing = mx.full((batch,), -1, mx.int32)
        return cls(nothing, nothing, nothing)

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]], first_time: int) -> History:
        """Of what was written of each sequence."""
        times = [next((t for t in reversed(each) if t >= first_time), -1) for each in sequences]
        lasts = [(each[-1] if each else -1, each[-2] if len(each) > 1 else -1) for each in sequences]
        return cls(*(mx.array(values, mx.int32) for values in (*zip(*lasts, strict=True), times)))

    def then(self, tokens: mx.array, first_time: int) -> History:
        """After tokens (B,) more."""
        tokens = tokens.astype(mx.int32)
        return History(tokens, self.last, mx.where(tokens >= first_time, tokens, self.time))


class Rules:
    """What is never written, and that times come in pairs and do not go back.

    Args:
        never: tokens that are not written.
        never_first: tokens that are not written first.
        timestamps: whether times are written.
        latest_start: the last time, as a token, that may be written first; None for any.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        size: int,
        never: Sequence[int],
        never_first: Sequence[int],
        *,
        timestamps: bool,
        latest_start: int | None,
    ) -> None:
        self._eot, self._first_time = vocabulary.eot, vocabulary.timestamp_begin
        self._timestamps = timestamps
        forbidden = [*never, vocabulary.no_timestamps] if timestamps else [*never]
        self._size = size
        self._always = _barred(size, forbidden)
        first = [*forbidden, *never_first]
        if timestamps:
            first += range(self._first_time)
            first += [] if latest_start is None else range(latest_start + 1, size)
        self._at_first = _barred(size, first)
        self._times = mx.arange(self._first_time, size, dtype=mx.int32)
        self._bars = np.array(self._always), np.array(self._at_first)

    def __call__(self, logits: mx.array, history: History, *, first: bool) -> mx.array:
        """Logits (B, V) float32 with -inf for what may not come."""
        logits = logits + (self._at_first if first else self._always)
        if not self._timestamps:
            return logits
        text, special, times = mx.split(logits, [self._eot, self._first_time], axis=-1)
        bar = mx.array(-mx.inf)
        if not first:
            was_time = history.last >= self._first_time
            # Before the first token of all stands a time, as it were.
            second_was_time = (history.before >= self._first_time) | (history.before < 0)
            unpaired = was_time & ~second_was_time
            least = history.time + mx.where(unpaired, 0, 1)
            too_early = (self._times < least[:, None]) & (history.time[:, None] >= 0)
            times = mx.where(too_early | (was_time & second_was_time)[:, None], bar, times)
            text = text + mx.where(unpaired, bar, 0.0)[:, None]
        likeliest = mx.maximum(text.max(axis=-1), special.max(axis=-1))
        must = mx.where(mx.logsumexp(times, axis=-1) > likeliest, bar, 0.0)[:, None]
        return mx.concatenate([text + must, special + must, times], axis=-1)

    def likeliest(self, logits: mx.array, sequences: Sequence[Sequence[int]]) -> tuple[list[int], list[float]] | None:
        """The likeliest token that may come next, and its log-probability, of each sequence (B,) so far.

        What `__call__` leaves of logits (B, V), in one pass over them on the Linux CPU backend; None elsewhere.
        """
        bar = self._bars[0] if any(sequences) else self._bars[1]
        if not self._timestamps:
            whole = peaks(logits, bar, np.array([(0, self._size)] * len(sequences)))
            return whole and (whole.place[:, 0].tolist(), (whole.most - whole.logsumexp)[:, 0].tolist())
        states = [self._state(sequence) for sequence in sequences]
        bounds = [(0, self._eot, self._first_time, least, self._size) for _, _, least in states]
        found = peaks(logits, bar, np.array(bounds))
        if found is None:
            return None
        text, special, times = 0, 1, 3  # between the last two, times that are too early
        tokens, logprobs = [], []
        for (unpaired, paired, _), most, place, total in zip(states, *found, strict=True):
            may = [*([] if unpaired else [text]), special, *([] if paired else [times])]
            if times in may and total[times] > max(most[each] for each in may if each != times):
                may = [times]
            best = max(may, key=lambda each: most[each])
            tokens.append(int(place[best]))
            logprobs.append(float(most[best] - np.logaddexp.reduce(total[may])))
        return tokens, logprobs

    def _state(self, sequence: Sequence[int]) -> tuple[bool, bool, int]:
        """Whether a sequence ends with a time that has no twin, or with a pair, and the first time that may come."""
        was_time = bool(sequence) and sequence[-1] >= self._first_time
        # Before the first token of all stands a time, as it were.
        second_was_time = len(sequence) < 2 or sequence[-2] >= self._first_time
        unpaired, paired = was_time and not second_was_time, was_time and second_was_time
        last = next((token for token in reversed(sequence) if token >= self._first_time), None)
        return unpaired, paired, self._first_time if last is None else min(last + (not unpaired), self._size)


def _barred(size: int, tokens: Sequence[int]) -> mx.array:
    """0, and -inf for the tokens, (size,)."""
    bar = np.zeros(size, np.float32)
    bar[list(tokens)] = -np.inf
    return mx.array(bar)
