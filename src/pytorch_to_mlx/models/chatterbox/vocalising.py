"""Speech tokens to a waveform: flow, vocoder and the fade at the start (upstream's `S3Token2Wav.inference`)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.components.flow.conformer import LOOK_AHEAD
from pytorch_to_mlx.components.flow.conformer import UPSAMPLING as FRAMES_PER_TOKEN
from pytorch_to_mlx.components.flow.estimator import MELS
from pytorch_to_mlx.components.hift.source import HARMONICS, HOP, RATE
from pytorch_to_mlx.models.chatterbox.network import S3Gen
from pytorch_to_mlx.models.chatterbox.voice import Speaker
from pytorch_to_mlx.noise import Noise
from pytorch_to_mlx.parity import tap

TRIM = RATE // 50
"""The first 20 ms are silenced and the next 20 ms faded in, so that nothing of the reference spills over."""


class Vocaliser:
    """The second half of Chatterbox."""

    def __init__(self, s3gen: S3Gen) -> None:
        self.s3gen = s3gen

    def mel(
        self, tokens: Sequence[int], speaker: Speaker, noise: Noise, *, first: int = 0, complete: bool = True
    ) -> mx.array:
        """Mel spectrogram (1, 2 * tokens, 80) of speech tokens.

        Args:
            tokens: what is said, from token `first` of the utterance on.
            speaker: who says it.
            noise: has the streams "flow", by frame.
            first: how many tokens precede those given; noise belongs to places in the utterance.
            complete: whether the utterance ends here; else the last three tokens serve as look-ahead only.
        """
        prompt = FRAMES_PER_TOKEN * speaker.prompt_tokens.shape[1]
        said = FRAMES_PER_TOKEN * (len(tokens) - (0 if complete else LOOK_AHEAD))
        z = [
            noise.normal("flow", 0, prompt, (MELS,)),
            noise.normal("flow", prompt + FRAMES_PER_TOKEN * first, said, (MELS,)),
        ]
        return self.s3gen.flow(
            mx.array(np.array(tokens, np.int32))[None],
            speaker.prompt_tokens,
            speaker.prompt_mel,
            speaker.embedding,
            mx.concatenate(z)[None],
            finalize=complete,
        )

    def waveform(self, mel: mx.array, noise: Noise) -> mx.array:
        """Samples (480 * frames,) of a mel spectrogram (1, frames, 80)."""
        return self.s3gen.mel2wav(mel, draw_phase(noise), draw_breath(noise, 0, mel.shape[1]))[0]

    def speech(self, tokens: Sequence[int], speaker: Speaker, noise: Noise) -> mx.array:
        """Samples (960 * tokens,) at 24 kHz of speech tokens."""
        return faded_in(self.waveform(tap("mel", self.mel(tokens, speaker, noise)), noise))


def draw_phase(noise: Noise) -> mx.array:
    """The phases in which the harmonics start, (1, 9) between -pi and pi."""
    return (2 * noise.uniform("hift.phase", 0, 1, (HARMONICS,)) - 1) * math.pi


def draw_breath(noise: Noise, start: int, frames: int) -> mx.array:
    """The source's noise of mel frames from `start` on, (1, 480 * frames, 9)."""
    return noise.normal("hift.noise", start, frames, (HOP, HARMONICS)).reshape(1, -1, HARMONICS)


def faded_in(samples: mx.array) -> mx.array:
    """Upstream's `trim_fade`."""
    rise = (np.cos(np.linspace(np.pi, 0, TRIM)) + 1) / 2
    fade = mx.array(np.concatenate([np.zeros(TRIM), rise]).astype(np.float32))
    return mx.concatenate([samples[: fade.size] * fade[: samples.size], samples[fade.size :]])
