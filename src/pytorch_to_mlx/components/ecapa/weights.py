"""Weight map from the names of Qwen3TTSSpeakerEncoder: 76 tensors. Convolutions of single frames are linear layers."""

from __future__ import annotations

from pytorch_to_mlx.weights import Rename, WeightMap

_SINGLE = ("fc", "asp.conv", "blocks.{n:d}.se_block.conv{m:d}")
_CONVOLUTIONS = (
    "mfa.conv",
    "asp.tdnn.conv",
    "blocks.{n:d}.conv",
    "blocks.{n:d}.tdnn{m:d}.conv",
    "blocks.{n:d}.res2net_block.blocks.{m:d}.conv",
)


def _pair(path: str, layout: str) -> tuple[Rename, Rename]:
    target = path.replace(":d", "")
    return Rename(f"{path}.weight", f"{target}.weight", layout), Rename(f"{path}.bias", f"{target}.bias")


WEIGHTS = WeightMap(
    *(rule for path in _SINGLE for rule in _pair(path, "OI1->OI")),
    *(rule for path in _CONVOLUTIONS for rule in _pair(path, "OIK->OKI")),
)
