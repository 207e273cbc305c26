"""CAM++ (Wang et al. 2023, arXiv:2303.00332), the speaker encoder of S3Gen and CosyVoice."""

from pytorch_to_mlx.components.campplus.network import CAMPPlus
from pytorch_to_mlx.components.campplus.weights import WEIGHTS

__all__ = ["WEIGHTS", "CAMPPlus"]
