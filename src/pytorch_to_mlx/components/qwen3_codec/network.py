"""The codec: sound to codes and back."""

from __future__ import annotations

import mlx.nn as nn

from pytorch_to_mlx.components.mimi import MimiEncoder
from pytorch_to_mlx.components.qwen3_codec.config import CodecConfig
from pytorch_to_mlx.components.qwen3_codec.decoder import CodecDecoder


class Codec(nn.Module):
    """Both networks under upstream's names."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = MimiEncoder(config.encoder)
        self.decoder = CodecDecoder(config.decoder)
