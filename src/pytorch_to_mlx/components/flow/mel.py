"""The mel spectrogram of a prompt: chatterbox/models/s3gen/utils/mel.py (Matcha-TTS's, at 24 kHz)."""

from __future__ import annotations

import mlx.core as mx

from pytorch_to_mlx.audio.spectrum import frame, hann, mel_filters, pad_ends
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
    frames = frame(pad_ends(samples[0], reach, "reflect"), WINDOW, HOP) * hann(WINDOW)
    spectrum = mx.fft.rfft(frames, axis=-1)
    magnitudes = mx.sqrt(mx.square(mx.real(spectrum)) + mx.square(mx.imag(spectrum)) + 1e-9)
    return mx.log(mx.maximum(magnitudes @ mel_filters(RATE, WINDOW, MELS, 0.0, HIGHEST), 1e-5))[None]
