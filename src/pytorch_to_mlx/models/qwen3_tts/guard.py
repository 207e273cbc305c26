"""When speech goes on without end: an autoregressive model may repeat itself, or babble after the text is over."""

from __future__ import annotations

import numpy as np

FRAMES_PER_SECOND = 12.5
WATCHED, LONGEST_PERIOD, ALIKE = 50, 50, 0.96
"""Four seconds that are what was said up to four seconds before, but for two frames, are a loop."""
FIRST_SECONDS, SECONDS_PER_TOKEN = 5.0, 1.5
"""Several times as long as people take for a text."""


class Guard:
    """Watches the first codes of one utterance."""

    def __init__(self, text_tokens: int) -> None:
        self._most = round(FRAMES_PER_SECOND * (FIRST_SECONDS + SECONDS_PER_TOKEN * text_tokens))
        self._said: list[int] = []

    def push(self, frame: np.ndarray) -> str:
        """Take a frame (codes,); returns why speech should end here, or nothing."""
        self._said.append(int(frame[0]))
        if len(self._said) >= self._most:
            return f"goes on after {self._most / FRAMES_PER_SECOND:.0f} s"
        return "repeats itself" if _repeats(np.array(self._said[-WATCHED - LONGEST_PERIOD :])) else ""


def _repeats(codes: np.ndarray) -> bool:
    """Whether the last of the codes are those some steps before."""
    if len(codes) <= WATCHED:
        return False
    before = np.lib.stride_tricks.sliding_window_view(codes[:-1], WATCHED)
    return float(np.mean(before == codes[-WATCHED:], axis=1).max()) >= ALIKE
