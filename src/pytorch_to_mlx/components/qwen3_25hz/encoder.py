"""From sound to codes: qwen_tts/core/tokenizer_25hz/vq, WhisperEncoderVQ as far as its codebook.

Whisper's encoder (arXiv:2212.04356) over windows of two seconds, of which every two positions become one code.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from pytorch_to_mlx.components.qwen3_25hz.config import LAYERS, EncoderConfig
from pytorch_to_mlx.components.whisper.encoder import Attention, Encoder
from pytorch_to_mlx.components.whisper.mel import MELS, log_mel
from pytorch_to_mlx.errors import AudioError
from pytorch_to_mlx.layers.convolution import Conv1d
from pytorch_to_mlx.parity import is_recording, tap

WINDOWS_AT_ONCE = 16
CODES_AT_ONCE = 512
"""Whose distances to all vectors are 64 MB."""


class WindowAttention(Attention):
    """Attention within windows of which a shorter one is filled up with keys and values of zero.

    They count: the mask of upstream's own attention masks nothing. Only under its flash-attn, in half precision, is a
    recording's last window alone with itself.
    """

    def _attended(self, q: mx.array, k: mx.array, v: mx.array, mask: mx.array | None) -> mx.array:
        if mask is not None:
            inside = mask[:, :, None, None].astype(k.dtype)
            k, v = k * inside, v * inside
        return super()._attended(q, k, v, None)


class Codebook(nn.Module):
    """The nearest of its vectors."""

    def __init__(self, vectors: int, dimensions: int) -> None:
        super().__init__()
        self.embed = mx.zeros((vectors, dimensions))

    def __call__(self, x: mx.array) -> mx.array:
        """(codes, dimensions) to (codes,) int32."""
        x, embed = x.astype(mx.float32), self.embed.astype(mx.float32)
        lengths = mx.square(embed).sum(axis=-1)
        if is_recording():
            return mx.argmin(tap("distances", _distances(x, embed, lengths)), axis=-1).astype(mx.int32)
        nearest = []
        for first in range(0, len(x), CODES_AT_ONCE):
            nearest.append(mx.argmin(_distances(x[first : first + CODES_AT_ONCE], embed, lengths), axis=-1))
            mx.async_eval(nearest[-1])
        return mx.concatenate(nearest).astype(mx.int32)


def _distances(x: mx.array, embed: mx.array, lengths: mx.array) -> mx.array:
    """Squared, (codes, vectors): their order of addition is upstream's."""
    return mx.square(x).sum(axis=-1, keepdims=True) + lengths - 2 * (x @ embed.T)


class WindowedTokenizer(Encoder):
    """The blocks before the codebook, and the codebook."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(MELS, config.state, config.heads, LAYERS, attention=WindowAttention)
        self.window, self.rate = config.window, config.rate
        self.audio_vq_downsample = Conv1d(config.state, config.state, config.rate, config.rate)
        self.audio_quantizer = Codebook(config.vectors, config.state)

    def codes(self, mel: mx.array) -> mx.array:
        """Log-mel frames (frames, 128), a whole number of codes, to (codes,) int32."""
        frames, size = len(mel), 2 * self.window
        windows = -(-frames // size)
        if windows > 1:
            mel = mx.pad(mel, [(0, windows * size - frames), (0, 0)])
        mel = mel.reshape(windows, -1, MELS)
        lengths = [min(size, frames - start) for start in range(0, frames, size)]
        states = []
        for first in range(0, windows, WINDOWS_AT_ONCE):
            part = slice(first, first + WINDOWS_AT_ONCE)
            states.append(self(mel[part], lengths[part]).flatten(0, 1))
            mx.async_eval(states[-1])
        hidden = mx.concatenate(states)[: frames // 2]
        return self.audio_quantizer(self.audio_vq_downsample(hidden[None])[0])


class SpeechEncoder(nn.Module):
    """The tokenizer behind its front end."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = WindowedTokenizer(config)

    def __call__(self, samples: np.ndarray) -> mx.array:
        """Samples at 16 kHz, (n,) float32, to codes, (ceil(n / samples_per_code),) int32; zeros fill the last one up.

        Raises:
            AudioError: there are none.
        """
        if not samples.size:
            raise AudioError("the recording is empty")
        samples = np.pad(samples, (0, -samples.size % self.config.samples_per_code))
        return tap("codes", self.tokenizer.codes(tap("mel", log_mel(samples))))
