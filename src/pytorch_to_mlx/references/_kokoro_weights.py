"""Seeded weights of Kokoro and its voices: numpy only, loaded by path by the reference and by tests."""

from collections.abc import Mapping

import _seed
import numpy as np

Shape = tuple[int, ...]
VOICES = ("af_heart", "am_adam", "bf_emma", "zm_yunxi")
LONGEST = 510  # phonemes of a pass; a voice has a style for each length
STYLE = 256


def weights(shapes: Mapping[str, Shape], seed: int = 0) -> dict[str, np.ndarray]:
    """By part and name, such as `decoder.encode.conv1.bias`: alive, and voiced in more than half of the frames.

    Snake's frequencies are positive and near 1, upsampling makes up for the zeros it puts in, residual branches are
    weak. A phoneme lasts some frames (the bias of durations), pitch moves by tens of Hz around 170, and magnitudes of
    the last spectrum are small, as of speech.
    """
    gains: dict[str, float] = {}
    for name in shapes:
        if name.endswith("weight_g"):
            if ".ups." in name:
                gains[name] = 2.0
            elif name.startswith("decoder.generator.") and ".convs2." in name:
                gains[name] = 0.4
            elif ".conv_post." in name:
                gains[name] = 0.15
        elif name.startswith("bert.") and name.endswith(("ffn_output.weight", "attention.dense.weight")):
            gains[name] = 0.5
        elif ".weight_hh_" in name:  # as PyTorch draws them; more would make rounding grow from step to step
            gains[name] = 0.6
        elif name.startswith("predictor.shared.weight_ih_"):  # or gates would make much of little differences
            gains[name] = 0.4
        elif name.endswith("duration_proj.linear_layer.weight"):
            gains[name] = 3.0
        elif name.endswith("F0_proj.weight"):
            gains[name] = 60.0
    drawn = {name: _seed.weight(name, tuple(shape), seed, gains.get(name, 1.0)) for name, shape in shapes.items()}
    for name, array in drawn.items():
        if ".alpha" in name:
            drawn[name] = np.exp(0.1 * _seed.generator(seed, name).standard_normal(array.shape)).astype(np.float32)
        elif name.endswith("embeddings.weight"):  # three kinds are added up before they are normed
            array *= np.float32(0.6)
        elif ".gamma" in name:
            drawn[name] = 1 + 0.1 * _seed.generator(seed, name).standard_normal(array.shape).astype(np.float32)
        elif name.endswith("duration_proj.linear_layer.bias"):
            array -= np.float32(2)
        elif name.endswith("duration_proj.linear_layer.weight"):  # what all logits share makes phonemes differ
            array += 6 * _seed.weight(f"{name}.shared", (1, array.shape[1]), seed)
        elif name.endswith("F0_proj.bias"):
            array += np.float32(170)
        elif name.endswith("bias") and (name.startswith("decoder.generator.") or "conv" in name) and "post" not in name:
            array *= np.float32(1 if "m_source" in name else 20)  # or they would drown in activations of about ten
        elif name.endswith("conv_post.bias"):
            array[: len(array) // 2] -= np.float32(2)
    return drawn


def voice(name: str, seed: int = 0) -> np.ndarray:
    """Styles of a voice by length, (510, 1, 256): they move a little with it."""
    draw = _seed.generator(seed, f"kokoro.{name}")
    styles = draw.standard_normal((1, 1, STYLE)) + 0.1 * draw.standard_normal((LONGEST, 1, STYLE))
    return np.float32(0.6 * styles)
