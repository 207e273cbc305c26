"""A watch on the multilingual model: do its own attention maps still follow the text?

The decisions of `AlignmentStreamAnalyzer` (chatterbox/models/t3/inference/alignment_stream_analyzer.py), without what
decides nothing there: its finding of false starts, and the matrix of all frames, of which only sums are used.
"""

from __future__ import annotations

from typing import Literal, get_args

import mlx.core as mx
import numpy as np

HEADS = ((12, 15), (13, 11), (9, 2))
"""Attention heads, as (layer, head), in which speech positions look at the text that they say."""

FORCED = 2.0**15
"""Upstream's stand-in for infinity, safe in every 16-bit type."""

Verdict = Literal["free", "hold", "stop"]
"""What may come next: any token, any but the stop token, only the stop token."""

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


class AlignmentAnalyser:
    """Follows one utterance, a frame for each speech token.

    Attributes:
        position: the text token that is being said.
        complete: whether the end of the text was reached.
    """

    def __init__(self, text_length: int) -> None:
        """`text_length` counts the start and stop tokens too."""
        self.position = 0
        self.complete = False
        self._length = text_length
        self._frames = 0
        self._last = -1
        # Since completion: attention to each of the last three text tokens, and the most to any but the last five.
        self._tail = np.zeros(min(3, text_length), np.float32)
        self._back = np.float32(0)

    def step(self, attention: np.ndarray, token: int) -> Verdict:
        """Judge one frame.

        Args:
            attention: of the newest position to the text, mean of the three heads, (text_length,) float32.
            token: the last token, at first the start token.
        """
        row = attention.copy()
        row[self._frames + 1 :] = 0  # text is not reached before as many frames have passed
        self._frames += 1
        repeated = self._frames >= 3 and token == self._last
        self._last = token

        if self.complete:
            self._tail += row[-3:]
            # Upstream fails on an empty maximum: in a text of five tokens or fewer, nothing lies before the last five.
            self._back += row[:-5].max(initial=0)
        looked_at = int(row.argmax())
        if -4 < looked_at - self.position < 7:
            self.position = looked_at
        self.complete = self.complete or self.position >= self._length - 3

        if self._tail.max() >= 5 or self._back > 5 or repeated:
            return "stop"
        return "hold" if looked_at < self._length - 3 and self._length > 5 else "free"


def heed(logits: mx.array, verdict: Verdict, stop: int) -> mx.array:
    """`logits` (..., vocabulary) with the stop token held back or forced."""
    if verdict == "free":
        return logits
    is_stop = mx.arange(logits.shape[-1]) == stop
    if verdict == "hold":
        return mx.where(is_stop, -FORCED, logits)
    return mx.broadcast_to(mx.where(is_stop, FORCED, -FORCED), logits.shape)
