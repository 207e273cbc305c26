"""The speaker encoder: front end, network, and means of unit vectors."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.components.voice_encoder.frontend import FrontEnd
from pytorch_to_mlx.components.voice_encoder.network import VoiceEncoder, unit
from pytorch_to_mlx.errors import AudioError
from pytorch_to_mlx.parity import tap


class VoiceEncoderModel:
    """A `SpeakerEncoder`."""

    def __init__(self, network: VoiceEncoder, front_end: FrontEnd) -> None:
        self.network = network
        self.front_end = front_end

    def embed(self, audio: Audio) -> np.ndarray:
        """The voice of one recording of any rate: a unit vector (256,) with no negative component.

        Raises:
            AudioError: silence, no speech, or too short.
        """
        partials = tap("partial_embeds", self.network(self.front_end.partials(audio)))
        return np.array(tap("embed", unit(partials.mean(axis=0))))

    def embed_speaker(self, recordings: Sequence[Audio]) -> np.ndarray:
        """The voice of one speaker from several recordings: the mean of their unit vectors, scaled to length one."""
        if not recordings:
            raise AudioError("a speaker embedding needs at least one recording")
        each = mx.array(np.stack([self.embed(audio) for audio in recordings]))
        return np.array(unit(each.mean(axis=0)))

    def similarity(self, first: np.ndarray, second: np.ndarray) -> float:
        """Cosine of the angle between two embeddings, 1 for the same voice."""
        return float(first @ second)
