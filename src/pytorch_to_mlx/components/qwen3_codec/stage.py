"""The codec checked by itself: what both its own port and Qwen3-TTS's declare of it."""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.components.mimi import MimiEncoder
from pytorch_to_mlx.components.qwen3_codec.decoder import CodecDecoder
from pytorch_to_mlx.parity import FLOAT32, Bar, tap
from pytorch_to_mlx.port import Stage

CODES = Bar("exact", candidates="distances")
SOUND = Bar("decibels", 75)
PIECE = 7  # frames


def _encode(network: MimiEncoder, inputs: Mapping[str, np.ndarray], noise: Mapping[str, np.ndarray]) -> None:
    """The codes of `wav`, samples at the network's own rate."""
    mx.eval(network(mx.array(inputs["wav"])[None]))


def _decode(network: CodecDecoder, inputs: Mapping[str, np.ndarray], noise: Mapping[str, np.ndarray]) -> None:
    """The sound of `codes`, (frames, quantizers): at once, and where they are many again in pieces."""
    codes = mx.array(inputs["codes"].astype(np.int32))[None]
    tap("wav", network(codes))
    if codes.shape[1] <= PIECE:
        return
    stream = network.stream()
    pieces = [network(codes[:, start : start + PIECE], stream) for start in range(0, codes.shape[1], PIECE)]
    tap("streamed", mx.concatenate(pieces, axis=1))


ENCODE = Stage(
    run=_encode,
    network="encoder",
    bars={"float32": {"codes": CODES, "*": FLOAT32}},
    layouts={"encoder.layers.*": "NCL->NLC", "downsample": "NCL->NLC"},
    alive={"distinct": 0.2, "changed": 0.2},
    control_case="control",
)
DECODE = Stage(
    run=_decode,
    network="decoder",
    bars={"float32": {"wav": SOUND, "streamed": SOUND, "*": FLOAT32}},
    layouts=dict.fromkeys(("pre_conv", "upsample.*", "decoder.*"), "NCL->NLC"),
    alive={"loudness": 0.01, "unclipped": 0.95, "changed": 0.1},
    control_case="control",
)
