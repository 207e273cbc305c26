"""Upstream's 328 tensors (`mel2wav.` in S3Gen's checkpoint) as parameters: weight norm is folded, paths stay."""

from __future__ import annotations

from pytorch_to_mlx.weights import FoldWeightNorm, Rename, WeightMap

NORMED = (
    "conv_{end}",
    "resblocks.{block:d}.convs{half:d}.{n:d}",
    "source_resblocks.{block:d}.convs{half:d}.{n:d}",
    "f0_predictor.condnet.{n:d}",
)
PLAIN = ("source_downs.{n:d}.bias", "m_source.l_linear.{leaf}", "f0_predictor.classifier.{leaf}")
ALPHAS = "resblocks.{block:d}.activations{half:d}.{n:d}.alpha"


def _same(*names: str) -> WeightMap:
    return WeightMap(*(Rename(name, name.replace(":d", "")) for name in names))


def _normed(module: str, layout: str) -> WeightMap:
    target = module.replace(":d", "")
    return WeightMap(FoldWeightNorm(module, f"{target}.weight", layout)) + _same(f"{module}.bias")


WEIGHTS = sum(
    (_normed(module, "OIK->OKI") for module in NORMED),
    # A transposed convolution's magnitudes belong to its inputs.
    _normed("ups.{n:d}", "IOK->OKI")
    + _same(*PLAIN, ALPHAS, f"source_{ALPHAS}")
    + WeightMap(Rename("source_downs.{n:d}.weight", "source_downs.{n}.weight", "OIK->OKI")),
)
