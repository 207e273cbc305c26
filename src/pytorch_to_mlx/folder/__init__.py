"""Model folders: config.json, weights in safetensors, assets, a card; written whole or not at all.

Importing this needs no MLX; only `load_weights` does.
"""

from pytorch_to_mlx.folder.card import render_card, with_parity
from pytorch_to_mlx.folder.config import (
    FORMAT_VERSION,
    Converter,
    FolderConfig,
    Packaged,
    SourceFile,
    SourceRecord,
    is_model_folder,
    read_config,
)
from pytorch_to_mlx.folder.reading import load_weights, weight_files
from pytorch_to_mlx.folder.writer import MAX_SHARD_BYTES, FolderWriter, replace_file

__all__ = [
    "FORMAT_VERSION",
    "MAX_SHARD_BYTES",
    "Converter",
    "FolderConfig",
    "FolderWriter",
    "Packaged",
    "SourceFile",
    "SourceRecord",
    "is_model_folder",
    "load_weights",
    "read_config",
    "render_card",
    "replace_file",
    "weight_files",
    "with_parity",
]
