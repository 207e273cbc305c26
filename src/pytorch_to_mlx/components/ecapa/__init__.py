"""ECAPA-TDNN (arXiv:2005.07143), the speaker encoder of Qwen3-TTS."""

from pytorch_to_mlx.components.ecapa.network import RATE, EcapaConfig, SpeakerEncoder
from pytorch_to_mlx.components.ecapa.weights import WEIGHTS

__all__ = ["RATE", "WEIGHTS", "EcapaConfig", "SpeakerEncoder"]
