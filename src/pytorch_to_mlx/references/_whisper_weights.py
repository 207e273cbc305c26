"""Seeded weights of Whisper: numpy only, loaded by path by the reference and by tests."""

from collections.abc import Mapping

import _seed
import numpy as np

Shape = tuple[int, ...]
SPECIAL = 1608
"""Tokens that are no words, of models with 99 languages: the end, the start, languages, 6 more, 1501 times."""
TIMES = 1501
ENDS = (56, 120, 190, 260, 330, 400)
"""Positions at which a text ends, unless it may not."""


def weights(shapes: Mapping[str, Shape], seed: int = 0) -> dict[str, np.ndarray]:
    """By upstream's name, rounded to float16, which published files hold.

    The table of tokens is weak, or what is written would be read again as likeliest (it is tied); positions are strong,
    so that no two steps are alike, and stay so below 32 layers; times are rarer than words. The encoder sees no
    loudness, and attention to it is sharp, so that texts differ with what is heard.
    """
    gains: dict[str, float] = {}
    for name, shape in shapes.items():
        if name == "encoder.conv1.weight" or name.endswith("cross_attn.query.weight"):
            gains[name] = 3.0
        elif name.endswith(("attn.out.weight", "mlp.2.weight")):
            depth = sum(each.startswith(name.split(".")[0]) and each.endswith(".attn.out.weight") for each in shapes)
            hearing = name.endswith("cross_attn.out.weight")
            gains[name] = min(0.7, 1.72 / depth**0.5) if hearing else min(0.5, 1.4 / depth**0.5)
        elif name == "decoder.token_embedding.weight":
            gains[name] = 2.0 * shape[1] ** -0.5
        elif name == "decoder.positional_embedding":
            gains[name] = 1.5
    drawn = {name: _seed.weight(name, tuple(shape), seed, gains.get(name, 1.0)) for name, shape in shapes.items()}
    drawn["encoder.conv1.weight"] -= drawn["encoder.conv1.weight"].mean(axis=1, keepdims=True)
    drawn["encoder.positional_embedding"] = sinusoids(*shapes["encoder.positional_embedding"])
    table, positions = drawn["decoder.token_embedding.weight"], drawn["decoder.positional_embedding"]
    table[-TIMES:] *= np.float32(0.45)
    end = len(table) - SPECIAL - (len(table) - 51865 if len(table) > 51865 else 0)
    table[end] = positions[list(ENDS)].sum(axis=0) * np.float32(1 / positions.shape[1] ** 0.5)
    return {name: array.astype(np.float16).astype(np.float32) for name, array in drawn.items()}


def sinusoids(length: int, channels: int) -> np.ndarray:
    """The table that Whisper's encoder adds, (length, channels): sines, then cosines (arXiv:1706.03762)."""
    rates = np.exp(-np.log(10000) / (channels // 2 - 1) * np.arange(channels // 2))
    angles = np.arange(length)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
