"""S3 speech tokenizers (CosyVoice, arXiv:2407.05407 and 2412.10117) as the s3tokenizer package has them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.components.s3_tokenizer.memory import MemoryAttention
from pytorch_to_mlx.components.s3_tokenizer.quantizer import (
    FSQ_SIZE,
    EuclideanCodebook,
    FiniteScalarCodebook,
    Quantizer,
)
from pytorch_to_mlx.components.whisper.encoder import POSITIONS, Attention, Encoder
from pytorch_to_mlx.components.whisper.mel import MELS
from pytorch_to_mlx.parity import tap

WINDOW_FRAMES = 3000  # 30 s
STRIDE_FRAMES = 2600  # windows overlap by 4 s
OVERLAP_SECONDS = 4
# Attention of a 30 s window at 50 Hz takes 180 MB; more windows at once gain nothing.
WINDOWS_AT_ONCE = 3


@dataclass(frozen=True)
class S3TokenizerConfig:
    """What differs between tokenizers; all published ones have the default sizes.

    Attributes:
        version: V1 has a codebook of 4096 vectors and sinusoidal positions, V2 finite scalars (6561), rotary positions
            and FSMN memory.
        tokens_per_second: 50 or 25; V2 is 25.
    """

    version: Literal["v1", "v2"]
    tokens_per_second: Literal[25, 50]
    state: int = 1280
    heads: int = 20
    layers: int = 6
    codebook: int = 4096

    def __post_init__(self) -> None:
        if self.version == "v2" and (self.tokens_per_second != 25 or self.codebook != FSQ_SIZE):
            raise ValueError(f"an S3 tokenizer V2 has 25 tokens a second and {FSQ_SIZE} of them")


V1_50HZ = S3TokenizerConfig("v1", 50)
V1_25HZ = S3TokenizerConfig("v1", 25)
V2_25HZ = S3TokenizerConfig("v2", 25, codebook=FSQ_SIZE)


class Tokens(NamedTuple):
    """Tokens of several recordings: (batch, longest) int32 with zeros beyond each recording's length."""

    tokens: mx.array
    lengths: list[int]


class Segment(NamedTuple):
    """Frames of one recording that are encoded together, and which of their tokens are kept."""

    recording: int
    start: int
    frames: int
    keep: slice


class S3Tokenizer(nn.Module):
    """Encoder and quantizer under upstream's names."""

    def __init__(self, config: S3TokenizerConfig) -> None:
        super().__init__()
        self.tokens_per_second = config.tokens_per_second
        stride = 50 // config.tokens_per_second
        memory = config.version == "v2"
        attention, positions = (MemoryAttention, 0) if memory else (Attention, POSITIONS)
        self.encoder = Encoder(
            MELS, config.state, config.heads, config.layers, stride, positions=positions, attention=attention
        )
        codebook = FiniteScalarCodebook(config.state) if memory else EuclideanCodebook(config.state, config.codebook)
        self.quantizer = Quantizer(codebook)

    def quantize(self, mel: mx.array, frames: Sequence[int]) -> Tokens:
        """Tokens of a padded batch.

        Recordings of over 30 s are cut in windows of 30 s that overlap by 4 s, of which upstream drops 2 s on either
        side: where the last window is shorter than the overlap and follows another that the end cuts (52 to 56 s, 78 to
        82 s, ...), up to 2 s of tokens before it are lost, as they are upstream.

        Args:
            mel: (batch, longest, 128), zero beyond each recording's frames (`stack`).
            frames: of each recording, at least one.
        """
        longest = mel.shape[1]
        segments = [Segment(i, 0, n, slice(None)) for i, n in enumerate(frames)]
        groups = [segments]
        if max(frames) > WINDOW_FRAMES:
            longest = WINDOW_FRAMES
            segments = [segment for i, n in enumerate(frames) for segment in self._segments(i, n)]
            groups = [segments[i : i + WINDOWS_AT_ONCE] for i in range(0, len(segments), WINDOWS_AT_ONCE)]
        kept: list[list[mx.array]] = [[] for _ in frames]
        for group in groups:
            states = self.encoder(_cut(mel, group, longest), [segment.frames for segment in group])
            mx.async_eval(states)
            for row, (recording, _, n, keep) in enumerate(group):
                kept[recording].append(states[row, : self.encoder.length(n)][keep])
        hidden = [mx.concatenate(each) for each in kept]
        return self._quantized(mx.concatenate(hidden), [len(each) for each in hidden])

    def _segments(self, recording: int, frames: int) -> list[Segment]:
        """The windows of one recording, of which all but the first and the last lose half an overlap at either end."""
        if frames <= WINDOW_FRAMES:
            return [Segment(recording, 0, frames, slice(None))]
        half = OVERLAP_SECONDS // 2 * self.tokens_per_second
        starts = range(0, frames, STRIDE_FRAMES)
        return [
            Segment(
                recording,
                start,
                min(WINDOW_FRAMES, frames - start),
                slice(half if start else 0, None if start == starts[-1] else -half),
            )
            for start in starts
        ]

    def _quantized(self, hidden: mx.array, lengths: list[int]) -> Tokens:
        """Hidden states of all recordings after each other, (tokens, state), to their tokens."""
        tokens = tap("tokens", self.quantizer(hidden))
        tap("lengths", mx.array(lengths))
        ends = itertools.accumulate(lengths)
        rows = [mx.pad(tokens[end - n : end], (0, max(lengths) - n)) for end, n in zip(ends, lengths, strict=True)]
        return Tokens(mx.stack(rows), lengths)


class S3TokenizerV2(S3Tokenizer):
    """V2 at its full size, as inside Chatterbox."""

    def __init__(self) -> None:
        super().__init__(V2_25HZ)


def stack(mels: Sequence[mx.array]) -> tuple[mx.array, list[int]]:
    """Spectra (frames, 128) of several recordings as a batch for `quantize`, and their frames."""
    frames = [len(mel) for mel in mels]
    return mx.stack([_padded(mel, max(frames)) for mel in mels]), frames


def _cut(mel: mx.array, segments: Sequence[Segment], longest: int) -> mx.array:
    """The segments' frames as a padded batch."""
    return mx.stack([_padded(mel[s.recording, s.start : s.start + s.frames], longest) for s in segments])


def _padded(mel: mx.array, frames: int) -> mx.array:
    return mx.pad(mel, [(0, frames - len(mel)), (0, 0)])
