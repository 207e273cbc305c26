"""From recordings to tokens: resampling, front end and network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pytorch_to_mlx.audio import Audio, Method
from pytorch_to_mlx.components.s3_tokenizer.network import S3Tokenizer, Tokens, stack
from pytorch_to_mlx.components.whisper.mel import RATE, log_mel
from pytorch_to_mlx.parity import tap

FRAMES_PER_SECOND = 100


class S3TokenizerModel:
    """A `SpeechTokenizer`.

    Attributes:
        network: its weights.
        resampling: to 16 kHz: s3tokenizer uses torchaudio's, `sinc_hann`.
    """

    def __init__(self, network: S3Tokenizer, resampling: Method = "sinc_hann") -> None:
        self.network = network
        self.resampling: Method = resampling

    @property
    def tokens_per_second(self) -> int:
        """25 or 50."""
        return self.network.tokens_per_second

    def tokenize(self, audio: Audio) -> np.ndarray:
        """The tokens of one recording of any rate and length, (tokens,) int32.

        Raises:
            AudioError: a recording of 12.5 ms or less.
        """
        samples = tap("resampled", audio.resampled(RATE, self.resampling).samples)
        return np.array(tokenize(self.network, [samples]).tokens[0])


def tokenize(network: S3Tokenizer, recordings: Sequence[np.ndarray], *, max_tokens: int | None = None) -> Tokens:
    """Tokens of recordings, as chatterbox/models/s3tokenizer's `S3Tokenizer.forward` makes them.

    Args:
        network: the tokenizer.
        recordings: (n,) float32 at 16 kHz each, computed as one padded batch.
        max_tokens: spectra are cut to this many tokens each; the loudest band is looked for before.

    Raises:
        AudioError: a recording of 200 samples or fewer.
    """
    mels = [log_mel(samples) for samples in recordings]
    if max_tokens is not None:
        mels = [mel[: max_tokens * FRAMES_PER_SECOND // network.tokens_per_second] for mel in mels]
    return network.quantize(*stack([tap("mel", mel) for mel in mels]))
