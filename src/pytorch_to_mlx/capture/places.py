"""Where code stands: torch's own, or the model's."""

from __future__ import annotations

from pathlib import Path

import torch

_TORCH = Path(torch.__file__).parent


def is_torchs(file: str | Path) -> bool:
    """Whether a source file is one of torch's."""
    return Path(file).is_relative_to(_TORCH)
