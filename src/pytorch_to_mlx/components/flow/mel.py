"""The mel spectrogram of a prompt: chatterbox/models/s3gen/utils/mel.py (Matcha-TTS's, at 24 kHz)."""

from __future__ import annotations

import mlx.core as mx

from pytorch_to_mlx.audio.spectrum import log_mel
from pytorch_to_mlx.components.flow.estimator import MELS
from pytorch_to_mlx.errors import AudioError

RATE = 24000
WINDOW = 1920
HOP = 480
HIGHEST = 8000.0


def mel_spectrogram(samples: mx.array) -> mx.array:
    """Log magnitudes in 80 mel bands up to 8 kHz, 50 frames a second.

    Args:
        samples: (1, n) float32 at 24 kHz.

    Returns:
        (1, n // 480, 80) float32.

    Raises:
        AudioError: too short for one frame.
    """
    reach = (WINDOW - HOP) // 2
    if samples.shape[1] <= reach:
        raise AudioError(
            f"the recording lasts {samples.shape[1] / RATE:.3f} s; a mel spectrogram needs more than 0.03 s"
        )
    return log_mel(samples[0], RATE, WINDOW, HOP, MELS, HIGHEST)[None]
