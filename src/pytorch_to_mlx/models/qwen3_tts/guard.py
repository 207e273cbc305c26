"""When speech goes on without end: an autoregressive model may repeat itself, or babble after the text is over."""

from __future__ import annotations

import numpy as np

FRAMES_PER_SECOND = 12.5
WATCHED, LONGEST_PERIOD, ALIKE = 50, 12, 0.96
"""Four seconds that are what was said up to one second before, but for two frames, are a loop."""
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
        recent = np.array(self._said[-WATCHED - LONGEST_PERIOD :])
        if len(recent) == WATCHED + LONGEST_PERIOD and any(_repeats(recent, p) for p in range(1, LONGEST_PERIOD + 1)):
            return "repeats itself"
        return ""


def _repeats(codes: np.ndarray, period: int) -> bool:
    return float(np.mean(codes[-WATCHED:] == codes[-WATCHED - period : -period])) >= ALIKE
