"""Probabilities of speech as a detector may tell them, and rules, drawn by chance."""

from __future__ import annotations

from random import Random
from typing import Any


def drawn(seed: int) -> tuple[list[float], int, dict[str, Any]]:
    """Probabilities of frames of 512 samples, how many samples there are, and rules that differ from the defaults."""
    chance = Random(seed)
    probabilities: list[float] = []
    for _ in range(chance.randint(0, 30)):
        level = chance.choice([0.02, 0.3, 0.42, 0.6, 0.97])
        stretch = chance.choice([1, 2, 4, 12, 60])
        probabilities += [min(1.0, max(0.0, chance.gauss(level, chance.choice([0.0, 0.15])))) for _ in range(stretch)]
    samples = max(0, 512 * len(probabilities) - chance.choice([0, 1, 300, 511]))
    choices: dict[str, list[Any]] = {
        "threshold": [0.1, 0.5, 0.7],
        "neg_threshold": [0.05, 0.35, 0.5, 0.9],
        "min_speech_duration_ms": [0, 96, 250, 1000],
        "max_speech_duration_s": [0.2, 0.9, 2.0, 5.0],
        "min_silence_duration_ms": [0, 33, 500, 2000],
        "speech_pad_ms": [0, 11, 200, 400],
        "min_silence_at_max_speech": [0, 64, 300],
        "use_max_poss_sil_at_max_speech": [False],
    }
    rules = {name: chance.choice(some) for name, some in choices.items() if chance.random() < 0.6}
    if "neg_threshold" in rules:
        rules["neg_threshold"] = min(rules["neg_threshold"], rules.get("threshold", 0.5))
    return probabilities, samples, rules
