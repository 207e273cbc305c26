"""Seeded weights of Qwen3-TTS's 25 Hz tokenizer: numpy only, loaded by path like _seed.py."""

from collections.abc import Mapping

import _seed
import numpy as np

Shape = tuple[int, ...]

ENCODER, DIT, VOCODER = "encoder.tokenizer.", "decoder.dit.", "decoder.bigvgan."
SPEAKER = f"{DIT}input_embed.spk_encoder."


def weights(shapes: Mapping[str, Shape], seed: int = 0) -> dict[str, np.ndarray]:
    """Weights whose codes vary with what is said, and whose sound varies with codes, voice, reference and noise."""
    drawn = _seed.weights(shapes, seed, _gains(shapes))
    entering = drawn[f"{ENCODER}conv1.weight"]  # which sees no loudness, as in `_seed.s3_tokenizer_weights`
    entering -= entering.mean(axis=1, keepdims=True)
    embed = drawn[f"{ENCODER}audio_quantizer.rvqs.0.embed"]  # of free lengths, the shortest would be the nearest to all
    embed *= np.float32(embed.shape[2] ** 0.5) / np.linalg.norm(embed, axis=2, keepdims=True)
    rates = drawn[f"{DIT}rotary_embed.inv_freq"]
    rates[:] = 10000.0 ** -(np.arange(rates.size) / rates.size)
    heard = drawn[f"{SPEAKER}blocks.0.conv.weight"]  # as in `_seed.qwen3_tts_weights`
    heard -= heard.mean(axis=1, keepdims=True)
    for name in shapes:
        if name.startswith(SPEAKER) and name.endswith("conv.bias"):
            drawn[name] += np.float32(0.3)
        elif name.endswith((".alpha", ".beta")):  # logarithms
            drawn[name] *= np.float32(5)
    return drawn


def _gains(shapes: Mapping[str, Shape]) -> dict[str, float]:
    """Residual branches are weak, transposed convolutions make up for the zeros they put in, and sound is below 1."""
    gains: dict[str, float] = {}
    for name, shape in shapes.items():
        if name.startswith(DIT) and len(shape) > 1 and "emb" in name and "codec_embed" not in name:
            gains[name] = float(np.prod(shape[1:]) ** -0.5)  # linear layers that are called embeddings
            if name.startswith(SPEAKER) and name.endswith("conv.weight"):
                gains[name] *= 1.4
        elif name.endswith("conv1.weight") and name.startswith(ENCODER):
            gains[name] = 3.0
        elif name.endswith(("attn.out.weight", "mlp.2.weight", "positional_embedding")):
            gains[name] = 0.5
        elif name.startswith(f"{VOCODER}ups.") and name.endswith("weight"):
            gains[name] = (shape[2] / 4) ** 0.5
        elif ".convs2." in name and name.endswith("weight"):
            gains[name] = 0.5
        elif name == f"{VOCODER}conv_post.weight":
            gains[name] = 0.1
    return gains
