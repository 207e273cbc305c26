"""The 25 Hz tokenizer as users meet it: recordings to codes, and codes to recordings in a voice."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.components.qwen3_25hz import voice as reference
from pytorch_to_mlx.components.qwen3_25hz.config import RATE
from pytorch_to_mlx.components.qwen3_25hz.network import Tokenizer25
from pytorch_to_mlx.errors import UsageError
from pytorch_to_mlx.noise import Noise, SeededNoise
from pytorch_to_mlx.parity import tap
from pytorch_to_mlx.tasks import Voice

KIND = "qwen3_tts_tokenizer_25hz"


class Qwen3Tokenizer25Model:
    """A `SpeechTokenizer`, whose codes sound again in the voice that they are given.

    Attributes:
        network: its weights.
    """

    def __init__(self, network: Tokenizer25) -> None:
        self.network = network

    @property
    def sample_rate(self) -> int:
        """Of the sound that it gives."""
        return self.network.config.sample_rate

    @property
    def tokens_per_second(self) -> float:
        """Codes a second; of published models 25."""
        return RATE / self.network.config.encoder.samples_per_code

    def tokenize(self, audio: Audio) -> np.ndarray:
        """The codes of one recording of any rate and length, (codes,) int32; silence fills the last one up.

        Raises:
            AudioError: it is empty.
        """
        samples = tap("resampled", audio.resampled(RATE).samples)
        return np.array(self.network.encoder(samples))

    def voice_features(self, audio: Audio) -> np.ndarray:
        """What upstream's CAM++ (campplus.onnx) is to be given of a recording, (frames, 80) float32.

        Raises:
            AudioError: shorter than a tenth of a second.
        """
        return reference.features(reference.normed(audio.resampled(RATE).samples))

    def prepare_voice(self, audio: Audio, xvector: np.ndarray) -> Voice:
        """A voice to decode with.

        Args:
            audio: somebody speaking.
            xvector: what CAM++ says of `voice_features(audio)`, (192,) or (1, 192), of any length other than zero.

        Raises:
            AudioError: shorter than a tenth of a second.
            UsageError: the vector has another shape, or is zero or not finite.
        """
        xvector = np.asarray(xvector, np.float32)
        xvector = xvector[0] if xvector.ndim == 2 and len(xvector) == 1 else xvector  # CAM++ gives a batch
        size = self.network.config.dit.xvector
        length = float(np.linalg.norm(xvector))
        if xvector.shape != (size,) or not np.isfinite(length) or not length:
            raise UsageError(
                f"the vector of the voice must be {size} finite numbers that are not all zero; it is of shape "
                f"{xvector.shape}"
            )
        samples = reference.normed(audio.resampled(RATE).samples)
        ref_mel = tap("ref_mel", reference.reference_mel(samples))
        return Voice(KIND, {"xvector": xvector / np.float32(length), "ref_mel": ref_mel})

    def decode(self, codes: np.ndarray, voice: Voice, *, seed: int = 0, noise: Noise | None = None) -> Audio:
        """The sound of codes in a voice.

        Args:
            codes: (codes,) integers.
            voice: what `prepare_voice` gave.
            seed: of the noise that the spectrum is made from.
            noise: in place of a seed, where the stream `flow` is drawn from.

        Raises:
            UsageError: codes of another shape, or outside the codebook; a voice for another model.
        """
        codes, config = self.checked(codes), self.network.config.dit
        xvector, ref_mel = self.checked_voice(voice)
        frames = len(codes) * config.repeats
        drawn = (noise or SeededNoise(seed)).normal("flow", 0, frames, (config.mels,))
        given = (mx.array(codes.astype(np.int32)), mx.array(xvector), mx.array(ref_mel), drawn)
        wav = tap("wav", self.network.decoder(*(each[None] for each in given)))
        return Audio(np.array(wav[0]), self.sample_rate)

    def checked(self, codes: np.ndarray) -> np.ndarray:
        """The codes as an array of the right shape and range. Raises `UsageError` as `decode`."""
        codes, most = np.asarray(codes), self.network.config.encoder.vectors
        most = min(most, self.network.config.dit.codes)
        if codes.ndim != 1 or not len(codes):
            raise UsageError(f"codes have shape {codes.shape}, not (codes,)")
        if not np.issubdtype(codes.dtype, np.integer) or codes.min() < 0 or codes.max() >= most:
            raise UsageError(f"codes must be integers from 0 to {most - 1}")
        return codes

    def checked_voice(self, voice: Voice) -> tuple[np.ndarray, np.ndarray]:
        """The vector and the spectrum of a voice that is for this model. Raises `UsageError` as `decode`."""
        config = self.network.config.dit
        xvector, ref_mel = voice.arrays.get("xvector"), voice.arrays.get("ref_mel")
        if voice.kind != KIND or xvector is None or ref_mel is None:
            raise UsageError(
                f"the voice is for {voice.kind or 'another model'}, not for {KIND}; "
                "make one with: pytorch-to-mlx voice DIR AUDIO --xvector FILE.npy -o VOICE"
            )
        if (
            xvector.shape != (config.xvector,)
            or ref_mel.ndim != 2
            or ref_mel.shape[1] != config.mels
            or len(ref_mel) < 9
        ):
            raise UsageError(f"the voice's arrays have shapes {xvector.shape} and {ref_mel.shape}; prepare it again")
        if not np.isfinite(xvector).all() or not np.isfinite(ref_mel).all():
            raise UsageError("the voice holds what are no finite numbers; prepare it again")
        return xvector, ref_mel
