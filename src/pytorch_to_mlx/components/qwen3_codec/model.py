"""The codec as users meet it: recordings to codes, codes to recordings, whole or as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import copy

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.components.qwen3_codec import Codec, CodecStream
from pytorch_to_mlx.errors import UsageError
from pytorch_to_mlx.parity import tap

FRAMES_AT_ONCE = 100  # 8 s, whose convolutions take some hundreds of MB


class Qwen3CodecModel:
    """A `SpeechCodec`.

    Attributes:
        network: its weights.
    """

    def __init__(self, network: Codec) -> None:
        self.network = network

    @property
    def sample_rate(self) -> int:
        """Of the sound that it gives."""
        return self.network.config.sample_rate

    @property
    def tokens_per_second(self) -> float:
        """Frames of codes a second: 12.5."""
        return self.sample_rate / self.network.config.encoder.samples_per_frame

    def tokenize(self, audio: Audio) -> np.ndarray:
        """The codes of one recording of any rate, (frames, 16) int32; silence fills the last frame up.

        It is heard whole: of ten minutes the first layers alone take 4 GB.
        """
        samples = tap("resampled", audio.resampled(self.sample_rate).samples)
        return np.array(self.network.encoder(mx.array(samples)[None])[0])

    def decode(self, codes: np.ndarray) -> Audio:
        """The sound of codes, (frames, 16) integers.

        Raises:
            UsageError: codes of another shape, or outside the codebooks.
        """
        return Audio(tap("wav", self.session().push(codes).samples), self.sample_rate)

    def stream(self, pieces: Iterable[np.ndarray]) -> Iterator[Audio]:
        """Sound for each piece of codes as it comes; together they are what `decode` gives."""
        session = self.session()
        for piece in pieces:
            yield session.push(piece)

    def session(self) -> DecodingSession:
        """One recording's codes, pushed as they come."""
        return DecodingSession(self)

    def checked(self, codes: np.ndarray) -> np.ndarray:
        """The codes as an array of the right shape and range. Raises `UsageError` as `decode`."""
        config = self.network.config.decoder
        codes = np.asarray(codes)
        if codes.ndim != 2 or codes.shape[1] != config.quantizers or not len(codes):
            raise UsageError(f"codes have shape {codes.shape}, not (frames, {config.quantizers})")
        if not np.issubdtype(codes.dtype, np.integer) or codes.min() < 0 or codes.max() >= config.codebook_size:
            raise UsageError(f"codes must be integers from 0 to {config.codebook_size - 1}")
        return codes


class DecodingSession:
    """Codes pushed as they come, sound given back."""

    def __init__(self, model: Qwen3CodecModel) -> None:
        self._model = model
        self._past: CodecStream = model.network.decoder.stream()

    def __copy__(self) -> DecodingSession:
        """A session that goes on by itself from here."""
        twin = DecodingSession(self._model)
        twin._past = copy(self._past)
        return twin

    def push(self, codes: np.ndarray) -> Audio:
        """The sound of the next codes, (frames, 16). Raises `UsageError` as `decode`."""
        codes = self._model.checked(codes).astype(np.int32)
        parts = [self._sound(codes[i : i + FRAMES_AT_ONCE]) for i in range(0, len(codes), FRAMES_AT_ONCE)]
        return Audio(np.concatenate(parts), self._model.sample_rate)

    def _sound(self, codes: np.ndarray) -> np.ndarray:
        samples = self._model.network.decoder(mx.array(codes)[None], self._past)
        mx.eval(samples, self._past.arrays)
        return np.array(samples[0].astype(mx.float32))
