"""HiFT, the vocoder of Chatterbox's S3Gen: mel spectrum to F0 to harmonic source to 480 samples a frame at 24 kHz.

Li et al. 2023, HiFTNet (arXiv:2309.09493), as chatterbox/models/s3gen/hifigan.py and f0_predictor.py have it.
"""

from pytorch_to_mlx.components.hift.network import CONTEXT, HOP, RATE, HiFT
from pytorch_to_mlx.components.hift.weights import WEIGHTS

__all__ = ["CONTEXT", "HOP", "RATE", "WEIGHTS", "HiFT"]
