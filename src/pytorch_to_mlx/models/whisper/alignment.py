"""When words are said: where attention to the sound moves on from token to token (whisper/timing.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.layers.elementwise import softmax
from pytorch_to_mlx.models.whisper.decoding import WindowDecoder
from pytorch_to_mlx.parity import tap

MEDIAN = 7
"""Positions of which attention is smoothed by their median."""
DIAGONAL, DOWN, RIGHT = range(3)


@dataclass
class Timing:
    """A word while its time is looked for: what `merge` joins is left empty.

    Attributes:
        start, end: in seconds from the window's start.
        probability: the mean of its tokens'.
    """

    word: str
    tokens: list[int]
    start: float
    end: float
    probability: float


def align(
    decoder: WindowDecoder, states: mx.array, tokens: Sequence[int], frames: int, language: str, task: str
) -> list[Timing]:
    """The words of a text, and when they are said.

    Args:
        decoder: the model.
        states: of the window, (n_audio_ctx, n_audio_state).
        tokens: of the text, without times.
        frames: of the window's spectrum that hold sound, 100 a second.
        language: code.
        task: of the decoding.
    """
    if not tokens:
        return []
    vocabulary, network = decoder.vocabulary, decoder.network.decoder
    start = vocabulary.start(language, task)
    told = [*start, vocabulary.no_timestamps, *tokens, vocabulary.eot]
    hidden, scores = network.aligned(mx.array([told]), network.remember(states[None]), decoder.config.heads)
    text_logits = network.logits(hidden[0, len(start) : len(start) + len(tokens)])[:, : vocabulary.eot]
    likely = np.array(softmax(text_logits))[np.arange(len(tokens)), list(tokens)].astype(np.float64)
    attention = np.array(mx.softmax(scores[0, :, :, : frames // 2], axis=-1, precise=True))
    matrix = tap("matrix", _smoothed(attention).mean(axis=0)[len(start) : -1])
    rows, columns = warp(-matrix.astype(np.float64))
    words = vocabulary.words([*tokens, vocabulary.eot], language)
    if len(words) <= 1:
        return []
    moved = np.pad(np.diff(rows), (1, 0), constant_values=1).astype(bool)
    times = columns[moved] / decoder.positions_per_second
    bounds = np.cumsum([0, *(len(part) for _, part in words[:-1])])
    return [
        Timing(word, part, float(times[first]), float(times[last]), float(likely[first:last].mean()))
        for (word, part), first, last in zip(words, bounds[:-1], bounds[1:], strict=False)
    ]


def _smoothed(weights: np.ndarray) -> np.ndarray:
    """Attention (heads, tokens, positions), normed over tokens, then smoothed over positions."""
    with np.errstate(invalid="ignore"):  # where all tokens attend alike, nothing is told, by upstream either
        normed = (weights - weights.mean(axis=-2, keepdims=True)) / weights.std(axis=-2, keepdims=True)
    half = MEDIAN // 2
    if normed.shape[-1] <= half:
        return normed
    padded = np.pad(normed, ((0, 0), (0, 0), (half, half)), mode="reflect")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, MEDIAN, axis=-1), axis=-1)


def warp(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cheapest way from the first to the last corner (dynamic time warping), by one step down, right or both.

    Totals are float32 and ties go right, as upstream's. Each antidiagonal is computed at once.

    Args:
        cost: (rows, columns) float64.

    Returns:
        rows and columns of the way, (steps,) both.
    """
    height, width = cost.shape
    total = np.full((height + 1, width + 1), np.inf, np.float32)
    total[0, 0] = 0
    trace = np.empty((height + 1, width + 1), np.int8)
    trace[0], trace[1:, 0] = RIGHT, DOWN
    for diagonal in range(2, height + width + 1):
        i = np.arange(max(1, diagonal - width), min(height, diagonal - 1) + 1)
        j = diagonal - i
        both, down, right = total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]
        step = np.where((both < down) & (both < right), DIAGONAL, np.where((down < both) & (down < right), DOWN, RIGHT))
        trace[i, j] = step
        total[i, j] = cost[i - 1, j - 1] + np.choose(step, (both, down, right)).astype(np.float64)
    way = []
    i, j = height, width
    while i or j:
        way.append((i - 1, j - 1))
        step = trace[i, j]
        i, j = i - (step != RIGHT), j - (step != DOWN)
    rows, columns = np.array(way[::-1]).T
    return rows, columns


def merge(words: list[Timing], prepended: str, appended: str) -> None:
    """Join punctuation with the words that it belongs to, in place; what was joined stays without text and tokens."""
    after = len(words) - 1
    for i in range(len(words) - 2, -1, -1):
        mark, word = words[i], words[after]
        if mark.word.startswith(" ") and mark.word.strip() in prepended:
            word.word, word.tokens = mark.word + word.word, mark.tokens + word.tokens
            mark.word, mark.tokens = "", []
        else:
            after = i
    before = 0
    for i in range(1, len(words)):
        word, mark = words[before], words[i]
        if not word.word.endswith(" ") and mark.word in appended:
            word.word, word.tokens = word.word + mark.word, word.tokens + mark.tokens
            mark.word, mark.tokens = "", []
        else:
            before = i
