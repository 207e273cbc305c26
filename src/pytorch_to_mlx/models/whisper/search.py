"""From logits to texts (whisper/decoding.py): greedy, by samples, and by beams, of several windows at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.components.decoder import Memory
from pytorch_to_mlx.decoding import KVCache, sample
from pytorch_to_mlx.layers.elementwise import logsumexp, softmax
from pytorch_to_mlx.models.whisper.network import TextDecoder
from pytorch_to_mlx.models.whisper.rules import History, Rules
from pytorch_to_mlx.parity import is_recording, tap

Draw = Callable[[int], mx.array]
"""Exponential noise of a step, (sequences, vocabulary)."""


@dataclass(frozen=True)
class Candidate:
    """One text of a window: its tokens, none of which ends it, and the sum of their log-probabilities."""

    tokens: list[int]
    logprob: float


class Reader:
    """The decoder at work on windows, several sequences of each.

    Args:
        decoder: of the model.
        memory: of the windows.
        prompts: what each begins with. They may differ in length, but end alike from `sot` on.
    """

    def __init__(self, decoder: TextDecoder, memory: Memory, prompts: Sequence[Sequence[int]]) -> None:
        self.decoder, self.memory, self.prompts = decoder, memory, prompts
        self.longest = max(map(len, prompts))
        padding = [self.longest - len(prompt) for prompt in prompts]
        self.cache = KVCache(decoder.config.num_layers, padding)
        rows = [[0] * missing + [*prompt] for missing, prompt in zip(padding, prompts, strict=True)]
        self.hidden = decoder.read(mx.array(rows), self.cache, memory)

    def logits_at(self, position: int) -> mx.array:
        """After a position of the prompts, which may be counted from their end: (windows, V)."""
        return self.decoder.logits(self.hidden[:, position])

    def repeat(self, group: int) -> None:
        """Go on with so many sequences of each window, next to one another."""
        if group > 1:
            self.select([window for window in range(len(self.prompts)) for _ in range(group)])

    def select(self, rows: Sequence[int]) -> None:
        """Go on with these sequences."""
        self.cache.select(rows)

    def step(self, tokens: mx.array) -> mx.array:
        """Logits (B, V) after tokens (B,) more."""
        return self.decoder.logits(self.decoder.read(tokens[:, None], self.cache, self.memory)[:, 0])

    def room(self, most: int) -> list[int]:
        """How many tokens may follow each prompt: at most so many, and one more than there are positions."""
        positions = self.decoder.config.max_positions or 0
        return [min(most, positions + 1 - len(prompt)) for prompt in self.prompts]


def sampled(
    reader: Reader, rules: Rules, end: int, first_time: int, most: int, group: int, temperature: float, draw: Draw
) -> list[list[Candidate]]:
    """`group` texts of each window: the likeliest tokens at temperature 0, else drawn ones.

    Nothing is read back in the loop but whether all have ended, a step late.
    """
    logits = mx.repeat(reader.logits_at(-1), group, axis=0)
    reader.repeat(group)
    room = np.repeat(reader.room(most), group)
    batch = len(room)
    history = History.empty(batch)
    sums, ended = mx.zeros((batch,)), mx.zeros((batch,), mx.bool_)
    written: list[mx.array] = []
    scores: list[mx.array] = []
    for step in range(max(room)):
        logits = rules(logits, history, first=step == 0)
        if is_recording():
            scores.append(logits)
        tokens = sample(softmax(logits / temperature), draw(step)) if temperature else mx.argmax(logits, axis=-1)
        logprob = mx.take_along_axis(logits, tokens[:, None], axis=-1)[:, 0] - logsumexp(logits)
        ended = ended | mx.array((room <= step).tolist())
        tokens = mx.where(ended, end, tokens).astype(mx.int32)
        sums = sums + mx.where(ended, 0.0, logprob)
        was_ended, ended = ended, ended | (tokens == end)
        written.append(tokens)
        mx.async_eval(tokens, sums, ended)
        if step and bool(was_ended.all()):
            break
        if step + 1 < max(room):
            logits = reader.step(tokens)
            history = history.then(tokens, first_time)
    if scores:
        tap("scores", mx.concatenate(scores))
    rows = np.array(mx.stack(written, axis=1)).tolist()
    found = [Candidate(_until(row, end), logprob) for row, logprob in zip(rows, np.array(sums).tolist(), strict=True)]
    return [found[first : first + group] for first in range(0, batch, group)]


def followed(reader: Reader, rules: Rules, end: int, first_time: int, most: int) -> list[list[Candidate]] | None:
    """The likeliest tokens of each window, chosen on the host, as `sampled` chooses them at temperature 0.

    Returns:
        None where that is not faster: everywhere but on the Linux CPU backend.
    """
    room = reader.room(most)
    texts: list[list[int]] = [[] for _ in room]
    sums = [0.0] * len(room)
    going = set(range(len(room)))
    scores: list[mx.array] = []
    logits = reader.logits_at(-1)
    for step in range(max(room)):
        chosen = rules.likeliest(logits, texts)
        if chosen is None:
            return None
        if is_recording():
            scores.append(rules(logits, History.of(texts, first_time), first=step == 0))
        for window, (token, logprob) in enumerate(zip(*chosen, strict=True)):
            going -= {window} if step >= room[window] else set()
            texts[window].append(token if window in going else end)
            if window in going:
                sums[window] += logprob
                going -= {window} if token == end else set()
        if not going:
            break
        if step + 1 < max(room):
            logits = reader.step(mx.array([text[-1] for text in texts]))
    if scores:
        tap("scores", mx.concatenate(scores))
    return [[Candidate(_until(text, end), total)] for text, total in zip(texts, sums, strict=True)]


@dataclass
class _Beams:
    """The search of one window: sequences that go on, sums of their log-probabilities, and sequences that ended."""

    sequences: list[tuple[int, ...]]
    sums: list[np.float32]
    ended: dict[tuple[int, ...], float] = field(default_factory=dict)

    def grow(self, tokens: np.ndarray, logprobs: np.ndarray, end: int, most: int) -> list[int]:
        """Go on with the best of what may follow: (beams, k) tokens and log-probabilities, best first.

        Returns:
            which of the beams each of the new ones goes on from.
        """
        width = len(self.sequences)
        scores: dict[tuple[int, ...], np.float32] = {}
        origin: dict[tuple[int, ...], int] = {}
        for beam, (sequence, total) in enumerate(zip(self.sequences, self.sums, strict=True)):
            for token, logprob in zip(tokens[beam].tolist(), logprobs[beam], strict=True):
                scores[(*sequence, token)] = total + logprob
                origin[(*sequence, token)] = beam
        best = sorted(scores, key=lambda sequence: scores[sequence], reverse=True)
        kept: list[tuple[int, ...]] = []
        for sequence in best:
            if sequence[-1] != end:
                kept.append(sequence)
                if len(kept) == width:
                    break
            elif len(self.ended) < most:
                self.ended[sequence] = float(scores[sequence])
        self.sequences, self.sums = kept, [scores[sequence] for sequence in kept]
        return [origin[sequence] for sequence in kept]

    def candidates(self, end: int) -> list[Candidate]:
        """What ended, and if it is fewer than there are beams, the best that did not."""
        found = dict(self.ended)
        for beam in np.argsort(self.sums)[::-1]:
            if len(found) >= len(self.sequences):
                break
            found[(*self.sequences[beam], end)] = float(self.sums[beam])
        return [Candidate(_until(list(sequence), end), logprob) for sequence, logprob in found.items()]


def searched(
    reader: Reader, rules: Rules, end: int, first_time: int, most: int, beams: int, patience: float
) -> list[list[Candidate]]:
    """Texts of each window by a beam search of so many beams, until `patience` times as many have ended."""
    windows = len(reader.prompts)
    logits = mx.repeat(reader.logits_at(-1), beams, axis=0)
    reader.repeat(beams)
    searches = [_Beams([()] * beams, [np.float32(0)] * beams) for _ in range(windows)]
    wanted, room = round(beams * patience), reader.room(most)
    going = list(range(windows))
    for step in range(max(room)):
        history = History.of([each for search in searches for each in search.sequences], first_time)
        logits = rules(logits, history, first=step == 0)
        tokens, logprobs = _best(logits, beams + 1)
        rows = list(range(windows * beams))
        for window in going:
            part = slice(window * beams, (window + 1) * beams)
            origins = searches[window].grow(tokens[part], logprobs[part], end, wanted)
            rows[part] = [window * beams + beam for beam in origins]
        going = [w for w in going if len(searches[w].ended) < wanted and step + 1 < room[w]]
        if not going:
            break
        if rows != list(range(windows * beams)):
            reader.select(rows)
        logits = reader.step(mx.array([sequence[-1] for search in searches for sequence in search.sequences]))
    return [search.candidates(end) for search in searches]


def best_of(candidates: Sequence[Candidate], length_penalty: float | None) -> Candidate:
    """The likeliest for its length: by the mean, or as Google's length penalty has it (arXiv:1609.08144, 14)."""

    def score(candidate: Candidate) -> float:
        length = max(len(candidate.tokens), 1)
        return candidate.logprob / (length if length_penalty is None else ((5 + length) / 6) ** length_penalty)

    return max(candidates, key=score)


def _best(logits: mx.array, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest tokens of (B, V) logits and their log-probabilities, best first, (B, count) both."""
    places = mx.argpartition(-logits, kth=count - 1, axis=-1)[:, :count]
    values = mx.take_along_axis(logits, places, axis=-1) - logsumexp(logits)[:, None]
    tokens, logprobs = np.array(places), np.array(values)
    order = np.argsort(-logprobs, axis=-1, kind="stable")
    return np.take_along_axis(tokens, order, axis=-1), np.take_along_axis(logprobs, order, axis=-1)


def _until(tokens: list[int], end: int) -> list[int]:
    return tokens[: tokens.index(end)] if end in tokens else tokens
