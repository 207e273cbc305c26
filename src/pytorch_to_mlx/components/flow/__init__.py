"""Speech tokens to mel spectrograms by causal conditional flow matching: the second network of Chatterbox's S3Gen, the
same as CosyVoice 2's (Du et al. 2024, arXiv:2412.10117).
"""

from pytorch_to_mlx.components.flow.flow import Flow, FlowConfig
from pytorch_to_mlx.components.flow.weights import weights

__all__ = ["Flow", "FlowConfig", "weights"]
