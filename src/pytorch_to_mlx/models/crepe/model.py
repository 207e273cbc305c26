"""The pitch tracker: framing, network and decoding, as torchcrepe/core.py."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.audio import Audio, resample
from pytorch_to_mlx.audio.spectrum import frame, pad_ends
from pytorch_to_mlx.errors import UsageError
from pytorch_to_mlx.models.crepe.decode import bin_range, decode
from pytorch_to_mlx.models.crepe.network import WINDOW, Crepe
from pytorch_to_mlx.parity import tap
from pytorch_to_mlx.tasks import Decoder, PitchTrack

RATE = 16000
# The second convolution unfolds to 34 MB a frame in `full`; more frames at once gain nothing on a CPU.
FRAMES_PER_BATCH = 16


class CrepeTracker:
    """A `PitchTracker`."""

    def __init__(self, network: Crepe) -> None:
        self.network = network

    def frames(self, audio: Audio, hop_length: int = 160) -> mx.array:
        """Normalised windows of 1024 samples at 16 kHz, centred every `hop_length`: (1 + n // hop_length, 1024)."""
        samples = audio.samples
        if audio.rate != RATE:
            samples = tap("resampled", resample(samples, audio.rate, RATE, "kaiser_best", rounding="down"))
        frames = frame(pad_ends(mx.array(samples), WINDOW // 2, "constant"), WINDOW, hop_length)
        frames = frames - _mean(frames)
        deviation = mx.sqrt(_mean(mx.square(frames)) * (WINDOW / (WINDOW - 1)))
        return tap("frames", frames / mx.maximum(deviation, 1e-10))

    def probabilities(self, frames: mx.array) -> mx.array:
        """(frames, 1024) to (frames, 360)."""
        return tap("probabilities", self._batched(self.network, frames))

    def embedding(self, frames: mx.array) -> mx.array:
        """The fifth block's output, which describes pitch and timbre: (frames, 32, channels[4] // 4), as upstream."""
        pooled = self._batched(self.network.embed, frames)
        return tap("embedding", pooled.swapaxes(1, 2).reshape(frames.shape[0], 32, -1))

    def _batched(self, function: Callable[[mx.array], mx.array], frames: mx.array) -> mx.array:
        """`function` of batches that bound memory, each begun while the next is being described."""
        batches = []
        for start in range(0, frames.shape[0], FRAMES_PER_BATCH):
            batches.append(function(frames[start : start + FRAMES_PER_BATCH]))
            mx.async_eval(batches[-1])
        return mx.concatenate(batches)

    def decode(
        self,
        probabilities: mx.array,
        *,
        hop_length: int = 160,
        fmin: float = 50.0,
        fmax: float = 550.0,
        decoder: Decoder = "viterbi",
        dither: np.ndarray | None = None,
    ) -> PitchTrack:
        """Decode the network's output; arguments as `pitch`."""
        bins, pitch, periodicity = decode(np.array(probabilities), decoder, fmin, fmax, dither)
        tap("bins", bins)
        tap("pitch", pitch)
        tap("periodicity", periodicity)
        return PitchTrack(np.arange(len(pitch)) * hop_length / RATE, pitch, periodicity)

    def pitch(
        self,
        audio: Audio,
        *,
        hop_length: int = 160,
        fmin: float = 50.0,
        fmax: float = 550.0,
        decoder: Decoder = "viterbi",
        dither: np.ndarray | None = None,
    ) -> PitchTrack:
        """Track the pitch of a recording.

        Args:
            audio: any rate; resampled to 16 kHz as upstream does.
            hop_length: samples at 16 kHz between frames.
            fmin, fmax: range in Hz within which pitch is sought. Upstream's default for `fmax` is 2006; its README
                advises 550 for speech, and above, pauses draw the Viterbi path to the topmost bin.
            decoder: "argmax", "weighted" or "viterbi".
            dither: cents to add, see `decode.decode`; upstream draws them at random, up to 20 either way.

        Raises:
            UsageError: an empty range, or a hop below one sample.
            AudioError: too short to be resampled to 16 kHz.
            MissingDependencyError: a rate other than 16 kHz needs resampy.
        """
        if hop_length < 1:
            raise UsageError(f"--hop {hop_length}: a hop of {hop_length} samples is too small")
        bin_range(fmin, fmax)  # a bad range should not wait for the network
        probabilities = self.probabilities(self.frames(audio, hop_length))
        return self.decode(probabilities, hop_length=hop_length, fmin=fmin, fmax=fmax, decoder=decoder, dither=dither)


def _mean(frames: mx.array) -> mx.array:
    """Mean of each row, (frames, 1), in two steps: summing 1024 values in one loses two digits on the CPU."""
    return frames.reshape(-1, 32, WINDOW // 32).mean(axis=2).mean(axis=1, keepdims=True)
