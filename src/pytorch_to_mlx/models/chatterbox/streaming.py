"""Audio while tokens are still coming.

The flow sees a window: the voice's prompt, up to 48 tokens that were spoken, the new chunk (24 tokens at first, then
48) and 8 tokens of look-ahead, of which the encoder needs 3. What the other 5 already show of the next chunk (10 mel
frames) is cross-faded with that chunk's own version of them. Noise is drawn by position, so that a frame starts from
the noise that it has offline. The vocoder sees 32 mel frames before and 20 after what it gives out, more than it can
hear, and its source runs on in phase: on the same mel it gives the offline samples.

Upstream's flow attends to the whole sequence, so that streamed mel differs from offline mel;
`tests/test_chatterbox_model.py` bounds by how much.
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.components.flow.conformer import UPSAMPLING as FRAMES_PER_TOKEN
from pytorch_to_mlx.components.flow.estimator import MELS
from pytorch_to_mlx.components.hift import HOP
from pytorch_to_mlx.models.chatterbox.vocalising import (
    Vocaliser,
    draw_breath,
    draw_phase,
    faded_in,
)
from pytorch_to_mlx.models.chatterbox.voice import Speaker
from pytorch_to_mlx.noise import Noise

FIRST_CHUNK, CHUNK = 24, 48
CONTEXT = 48
LOOK_AHEAD = 8
BEFORE, AFTER = 32, 20
"""Mel frames around what the vocoder gives out; it hears 14 either side, after F0, which is heard from 5."""
F0_REACH = 5


class Streamer:
    """Speech tokens in, audio out, for one part of a text."""

    def __init__(self, vocaliser: Vocaliser, speaker: Speaker, noise: Noise) -> None:
        self._vocaliser = vocaliser
        self._speaker = speaker
        self._noise = noise
        self._tokens: list[int] = []
        self._said = 0  # tokens whose mel is settled
        self._preview = mx.zeros((1, 0, MELS))  # of the frames that follow
        self._vocoder = VocoderStream(vocaliser, noise)

    def push(self, token: int) -> np.ndarray | None:
        """Take a token; returns samples at 24 kHz once another chunk is complete."""
        self._tokens.append(token)
        chunk = CHUNK if self._said else FIRST_CHUNK
        if len(self._tokens) < self._said + chunk + LOOK_AHEAD:
            return None
        return np.array(self._vocoder.push(self._settle(self._said + chunk)))

    def flush(self) -> np.ndarray:
        """The rest; tokens come to an end here."""
        if len(self._tokens) == self._said:
            return np.array(self._vocoder.flush(mx.zeros((1, 0, MELS))))
        return np.array(self._vocoder.flush(self._settle(len(self._tokens))))

    def _settle(self, end: int) -> mx.array:
        """Mel frames of the tokens up to `end`, (1, frames, 80)."""
        start = max(0, self._said - CONTEXT)
        last = end == len(self._tokens)
        mel = self._vocaliser.mel(
            self._tokens[start : end if last else end + LOOK_AHEAD],
            self._speaker,
            self._noise,
            first=start,
            complete=last,
        )
        mel = mel[:, FRAMES_PER_TOKEN * (self._said - start) :]
        fresh = FRAMES_PER_TOKEN * (end - self._said)
        settled, preview = mel[:, :fresh], mel[:, fresh:]
        overlap = min(self._preview.shape[1], fresh)
        weight = mx.arange(1, overlap + 1)[None, :, None] / (overlap + 1)
        blended = weight * settled[:, :overlap] + (1 - weight) * self._preview[:, :overlap]
        self._said, self._preview = end, preview
        return mx.concatenate([blended, settled[:, overlap:]], axis=1)


class VocoderStream:
    """Mel frames in, samples out: those of one pass over the whole mel, but for rounding."""

    def __init__(self, vocaliser: Vocaliser, noise: Noise) -> None:
        self._hift = vocaliser.s3gen.mel2wav
        self._noise = noise
        self._phase = draw_phase(noise)
        self._turns: mx.array | None = None
        self._mel = mx.zeros((1, 0, MELS))  # from `_first` on
        self._source = mx.zeros((1, 0, 1))
        self._first = 0
        self._done = 0  # frames given out
        self._opening = True

    def push(self, mel: mx.array) -> mx.array:
        """Take frames (1, n, 80); returns samples (480 * frames,) of those whose surroundings are known."""
        return self._advance(mel, AFTER)

    def flush(self, mel: mx.array) -> mx.array:
        """Take the last frames, of which there may be none; returns all that is left."""
        return self._advance(mel, 0)

    def _advance(self, mel: mx.array, held: int) -> mx.array:
        self._mel = mx.concatenate([self._mel, mel], axis=1)
        known = self._first + self._mel.shape[1]
        end = known - held
        if end <= self._done:
            return mx.zeros((0,))
        self._extend_source(known - min(held, F0_REACH))
        visible = self._source.shape[1] // HOP
        wave = self._hift.decode(self._mel[:, :visible], self._source)[0]
        out = wave[HOP * (self._done - self._first) : HOP * (end - self._first)]
        if self._opening:
            out, self._opening = faded_in(out), False
        self._done = end
        keep = max(self._first, end - BEFORE)
        self._mel = self._mel[:, keep - self._first :]
        self._source = self._source[:, HOP * (keep - self._first) :]
        self._first = keep
        mx.eval(out, self._mel, self._source)
        return out

    def _extend_source(self, end: int) -> None:
        """The source up to frame `end`. The mel at hand has what F0 is heard from."""
        start = self._first + self._source.shape[1] // HOP
        f0 = self._hift.predict_f0(self._mel)[:, start - self._first : end - self._first]
        breath = draw_breath(self._noise, start, end - start)
        source, self._turns = self._hift.excite_on(f0, self._phase, breath, self._turns)
        self._source = mx.concatenate([self._source, source], axis=1)
