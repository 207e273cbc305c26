"""From logits to a token: transformers' logits processors and torch's multinomial draw, without leaving the device.

Each processor computes what transformers/generation/logits_process.py does, ties and order of arguments included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import mlx.core as mx

from pytorch_to_mlx.errors import UsageError
from pytorch_to_mlx.layers.elementwise import softmax

NOTHING = mx.zeros((1, 1), mx.bool_)
"""Seen, for processors that do not ask."""


class Processor(Protocol):
    """Changes logits (B, V), given which tokens have been seen, (B or 1, V) boolean."""

    def __call__(self, logits: mx.array, seen: mx.array) -> mx.array: ...


@dataclass(frozen=True)
class RepetitionPenalty:
    """Seen tokens become less likely: positive logits are divided by `penalty`, negative ones multiplied."""

    penalty: float

    def __post_init__(self) -> None:
        _require(self.penalty > 0, "repetition_penalty", self.penalty, "above 0")

    def __call__(self, logits: mx.array, seen: mx.array) -> mx.array:
        return mx.where(seen, mx.where(logits < 0, logits * self.penalty, logits / self.penalty), logits)


@dataclass(frozen=True)
class Temperature:
    """Logits divided by `temperature`."""

    temperature: float

    def __post_init__(self) -> None:
        _require(self.temperature > 0, "temperature", self.temperature, "above 0")

    def __call__(self, logits: mx.array, seen: mx.array) -> mx.array:
        return logits / self.temperature


@dataclass(frozen=True)
class TopK:
    """Only the `k` largest logits stay, and what equals the smallest of them."""

    k: int

    def __post_init__(self) -> None:
        _require(self.k >= 1, "top_k", self.k, "1 or more")

    def __call__(self, logits: mx.array, seen: mx.array) -> mx.array:
        least = mx.topk(logits, min(self.k, logits.shape[-1])).min(axis=-1, keepdims=True)
        return _without(logits, logits < least)


@dataclass(frozen=True)
class TopP:
    """The most likely tokens that together reach probability `p` stay; always at least one."""

    p: float

    def __post_init__(self) -> None:
        _require(0 <= self.p <= 1, "top_p", self.p, "between 0 and 1")

    def __call__(self, logits: mx.array, seen: mx.array) -> mx.array:
        order = mx.argsort(logits, axis=-1)
        below = mx.cumsum(softmax(mx.take_along_axis(logits, order, axis=-1), axis=-1), axis=-1)
        last = mx.arange(logits.shape[-1]) == logits.shape[-1] - 1
        removed = (below <= 1 - self.p) & ~last
        return _without(logits, mx.put_along_axis(mx.zeros_like(removed), order, removed, axis=-1))


@dataclass(frozen=True)
class MinP:
    """Tokens stay whose probability is at least `p` times the largest."""

    p: float

    def __post_init__(self) -> None:
        _require(0 <= self.p <= 1, "min_p", self.p, "between 0 and 1")

    def __call__(self, logits: mx.array, seen: mx.array) -> mx.array:
        probabilities = softmax(logits, axis=-1)
        return _without(logits, probabilities < self.p * probabilities.max(axis=-1, keepdims=True))


def greedy(logits: mx.array) -> mx.array:
    """The most likely tokens, (B, V) to (B,)."""
    return mx.argmax(logits, axis=-1)


def sample(probabilities: mx.array, exponential: mx.array) -> mx.array:
    """Tokens drawn from `probabilities` (B, V) with exponential noise of the same shape, (B,).

    p / q is largest with probability p where q is exponentially distributed. torch.multinomial(num_samples=1) computes
    exactly this (aten/src/ATen/native/Distributions.cpp), so that its draws can be replayed.
    """
    return mx.argmax(probabilities / exponential, axis=-1)


def choose(
    logits: mx.array, processors: Sequence[Processor], seen: mx.array = NOTHING, exponential: mx.array | None = None
) -> mx.array:
    """Tokens (B,) from logits (B, V): drawn with exponential noise (B or 1, V), else the most likely."""
    logits = logits.astype(mx.float32)
    for process in processors:
        logits = process(logits, seen)
    return greedy(logits) if exponential is None else sample(softmax(logits, axis=-1), exponential)


class Sampler:
    """Draws one token at a time for each of some sequences, and remembers which. Nothing is read back to the host.

    Args:
        vocabulary: the number of logits.
        processors: applied in their order.
        exponential: gives draw `i` its noise, (vocabulary,) or (batch, vocabulary); None takes the most likely token.
        prompt: tokens that count as seen before the first draw.
        keep_prompt: whether they still count as seen after it.
        batch: how many sequences.
    """

    def __init__(
        self,
        vocabulary: int,
        processors: Sequence[Processor] = (),
        exponential: Callable[[int], mx.array] | None = None,
        prompt: Sequence[int] = (),
        keep_prompt: bool = True,
        batch: int = 1,
    ) -> None:
        self._processors = tuple(processors)
        self._exponential = exponential
        self._nothing = mx.zeros((batch, vocabulary), mx.bool_)
        seen = mx.broadcast_to(mx.array(list(prompt), mx.uint32), (batch, len(prompt)))
        self._seen = self._marked(self._nothing, seen)
        self._keep_prompt = keep_prompt
        self._draws = 0

    def __call__(self, logits: mx.array) -> mx.array:
        """The next tokens (batch,) from logits (batch, vocabulary)."""
        noise = None if self._exponential is None else self._exponential(self._draws)
        if noise is not None and noise.ndim == 1:
            noise = noise[None]
        tokens = choose(logits, self._processors, self._seen, noise)
        seen = self._seen if self._draws or self._keep_prompt else self._nothing
        self._seen = self._marked(seen, tokens[:, None])
        self._draws += 1
        return tokens

    @staticmethod
    def _marked(seen: mx.array, tokens: mx.array) -> mx.array:
        return mx.put_along_axis(seen, tokens, mx.array(True), axis=-1) if tokens.size else seen


def _without(logits: mx.array, removed: mx.array) -> mx.array:
    return mx.where(removed, mx.array(-mx.inf, logits.dtype), logits)


def _require(holds: bool, flag: str, value: float, needed: str) -> None:
    if not holds:
        raise UsageError(f"{flag} {value} must be {needed}")
