"""How a window is decoded, and a recording transcribed: upstream's options, under its names (whisper/transcribe.py)."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Literal

from pytorch_to_mlx.errors import UsageError

TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
PREPENDED = "\"'“¿([{-"
APPENDED = "\"'.。,，!！?？:：”)]}、"


@dataclass(frozen=True)
class DecodingOptions:
    """Of a window of 30 s.

    Attributes:
        task: to write down what is said, or to say it in English.
        sample_len: the most tokens; None for half of the context.
        best_of: how many samples the best is chosen of, at a temperature above 0.
        beam_size: of a beam search, at temperature 0; None for greedy decoding.
        patience: of the beam search (arXiv:2204.05424): how many times `beam_size` sequences have to end.
        length_penalty: alpha of Google's (arXiv:1609.08144), 0 to 1; None ranks by the mean of log-probabilities.
        suppress_tokens: what is never written; -1 stands for what is written but not said.
        suppress_blank: whether an empty text is no answer.
        without_timestamps: whether it writes no times.
        max_initial_timestamp: the latest that a window may begin to speak, in seconds.
    """

    task: Literal["transcribe", "translate"] = "transcribe"
    sample_len: int | None = None
    best_of: int | None = None
    beam_size: int | None = None
    patience: float | None = None
    length_penalty: float | None = None
    suppress_tokens: tuple[int, ...] = (-1,)
    suppress_blank: bool = True
    without_timestamps: bool = False
    max_initial_timestamp: float | None = 1.0

    def __post_init__(self) -> None:
        _require(self.task in ("transcribe", "translate"), "task", self.task, "transcribe or translate")
        for name in ("sample_len", "best_of", "beam_size"):
            value = getattr(self, name)
            _require(value is None or value >= 1, name, value, "1 or more")
        _require(self.patience is None or self.patience > 0, "patience", self.patience, "above 0")
        _require(
            self.patience is None or self.beam_size is not None, "patience", self.patience, "with --beam-size only"
        )
        if self.beam_size is not None and round(self.beam_size * (self.patience or 1)) < 1:
            raise UsageError(f"--patience {self.patience} leaves no sequence of --beam-size {self.beam_size}")
        alpha = self.length_penalty
        _require(alpha is None or 0 <= alpha <= 1, "length_penalty", alpha, "between 0 and 1")


@dataclass(frozen=True)
class Options(DecodingOptions):
    """Of a recording.

    Attributes:
        temperature: tried one after the other, until a window holds both thresholds.
        compression_ratio_threshold: a text that can be packed tighter than this repeats itself.
        logprob_threshold: the least mean log-probability of a window's tokens.
        no_speech_threshold: a window that is silent with this probability, and doubtful, is left out.
        condition_on_previous_text: whether a window is told what was said before it.
        initial_prompt: what the first window is told was said before, such as names to know.
        carry_initial_prompt: whether every window is told so.
        word_timestamps: whether it tells when each word is said.
        prepend_punctuations, append_punctuations: what belongs to the word after, and before, it.
        clip_timestamps: starts and ends of what is heard, in seconds; the last end may be left out.
        hallucination_silence_threshold: with words: doubtful ones around silences longer than this are left out.
    """

    temperature: tuple[float, ...] = TEMPERATURES
    compression_ratio_threshold: float | None = 2.4
    logprob_threshold: float | None = -1.0
    no_speech_threshold: float | None = 0.6
    condition_on_previous_text: bool = True
    initial_prompt: str | None = None
    carry_initial_prompt: bool = False
    word_timestamps: bool = False
    prepend_punctuations: str = PREPENDED
    append_punctuations: str = APPENDED
    clip_timestamps: tuple[float, ...] = ()
    hallucination_silence_threshold: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        usable = bool(self.temperature) and all(math.isfinite(t) and t >= 0 for t in self.temperature)
        _require(usable, "temperature", self.temperature, "0 or more")
        clips = self.clip_timestamps
        rising = all(a <= b for a, b in pairwise(clips)) and all(map(math.isfinite, clips))
        _require(rising and (not clips or clips[0] >= 0), "clip_timestamps", clips, "seconds, in order")
        silence = self.hallucination_silence_threshold
        if silence is not None and not self.word_timestamps:
            raise UsageError("--hallucination-silence-threshold needs --word-timestamps")

    def decoding(self, temperature: float) -> DecodingOptions:
        """Those of a window at a temperature: beams at 0, several samples above."""
        own: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(DecodingOptions)}
        own |= {"beam_size": None, "patience": None} if temperature else {"best_of": None}
        return DecodingOptions(**own)


def _require(holds: bool, name: str, value: Any, needed: str) -> None:
    if not holds:
        raise UsageError(f"--{name.replace('_', '-')} {value} must be {needed}")
