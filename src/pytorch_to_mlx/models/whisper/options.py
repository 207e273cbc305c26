"""How a window is decoded, and a recording transcribed: upstream's options, under its names (whisper/transcribe.py)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, Literal

from pytorch_to_mlx.errors import UsageError

TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
PREPENDED = "\"'“¿([{-"
APPENDED = "\"'.。,，!！?？:：”)]}、"
THRESHOLDS = (
    "compression_ratio_threshold",
    "logprob_threshold",
    "no_speech_threshold",
    "hallucination_silence_threshold",
)
MOST = 100
"""Beams, samples, temperatures: each is a sequence in memory or another decoding; ten are many."""


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
        suppress_tokens: what is never written; -1 stands for what is written but not said. Given as upstream takes it,
            a list, numbers by commas or None, it becomes a tuple.
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
        tokens = () if self.suppress_tokens is None else _listed("suppress_tokens", self.suppress_tokens, int)
        object.__setattr__(self, "suppress_tokens", tokens)
        usable = all(token >= -1 for token in tokens)
        _require(usable, "suppress_tokens", tokens, "numbers of tokens, or -1 for what is not said")
        _require(self.task in ("transcribe", "translate"), "task", self.task, "transcribe or translate")
        length = self.sample_len
        _require(length is None or (_is_number(length, Integral) and length >= 1), "sample_len", length, "1 or more")
        for name in ("best_of", "beam_size"):
            value = getattr(self, name)
            usable = value is None or (_is_number(value, Integral) and 1 <= value <= MOST)
            _require(usable, name, value, f"1 or more, {MOST} at most")
        self._check_ranking()

    def _check_ranking(self) -> None:
        patience = self.patience
        usable = patience is None or (_is_number(patience, Real) and 0 < patience <= MOST)
        _require(usable, "patience", patience, f"above 0, {MOST} at most")
        _require(patience is None or self.beam_size is not None, "patience", patience, "with --beam-size only")
        if self.beam_size is not None and round(self.beam_size * (self.patience or 1)) < 1:
            raise UsageError(f"--patience {self.patience} leaves no sequence of --beam-size {self.beam_size}")
        alpha = self.length_penalty
        usable = alpha is None or (_is_number(alpha, Real) and 0 <= alpha <= 1)
        _require(usable, "length_penalty", alpha, "between 0 and 1")


@dataclass(frozen=True)
class Options(DecodingOptions):
    """Of a recording. What upstream takes as a number, a list or numbers by commas becomes a tuple.

    Attributes:
        temperature: one, or several that are tried one after the other, until a window holds both thresholds.
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
        self._take_temperatures()
        clips = _listed("clip_timestamps", self.clip_timestamps, float)
        object.__setattr__(self, "clip_timestamps", clips)
        rising = all(a <= b for a, b in pairwise(clips)) and all(map(math.isfinite, clips))
        _require(rising and (not clips or clips[0] >= 0), "clip_timestamps", clips, "seconds, in order")
        for name in THRESHOLDS:
            value = getattr(self, name)
            usable = value is None or (_is_number(value, Real) and not math.isnan(value))
            _require(usable, name, value, "a number, or None for none")
        silence = self.hallucination_silence_threshold
        if silence is not None and not self.word_timestamps:
            raise UsageError("--hallucination-silence-threshold needs --word-timestamps")

    def _take_temperatures(self) -> None:
        given: Any = self.temperature
        _require(not isinstance(given, str), "temperature", given, "a number, or a list of them")
        given = (given,) if _is_number(given, Real) else given
        temperatures = _listed("temperature", given, float)
        usable = bool(temperatures) and all(math.isfinite(t) and t >= 0 for t in temperatures)
        _require(usable, "temperature", temperatures[0] if len(temperatures) == 1 else temperatures, "0 or more")
        _require(len(temperatures) <= MOST, "temperature", f"of {len(temperatures)} tries", f"{MOST} at most")
        object.__setattr__(self, "temperature", temperatures)

    def decoding(self, temperature: float) -> DecodingOptions:
        """Those of a window at a temperature: beams at 0, several samples above."""
        own: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(DecodingOptions)}
        own |= {"beam_size": None, "patience": None} if temperature else {"best_of": None}
        return DecodingOptions(**own)


def _listed(name: str, given: Any, kind: type[int] | type[float]) -> tuple[Any, ...]:
    """Numbers that are given in a list, or as upstream's command line takes them, by commas."""
    if isinstance(given, str):
        try:
            return tuple(kind(part) for part in given.split(",")) if given.strip() else ()
        except ValueError as error:
            raise UsageError(f"{_flag(name)} {given}: numbers, by commas") from error
    plain = isinstance(given, Iterable) and not isinstance(given, (bytes, Mapping))
    numbers = tuple(given) if plain else ()
    wanted = Integral if kind is int else Real
    usable = plain and all(_is_number(each, wanted) for each in numbers)
    _require(usable, name, repr(given), "numbers, in a list or by commas")
    return tuple(kind(each) for each in numbers)


def _is_number(value: Any, kind: type[Integral] | type[Real]) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _require(holds: bool, name: str, value: Any, needed: str) -> None:
    if not holds:
        raise UsageError(f"{_flag(name)} {value} must be {needed}")
