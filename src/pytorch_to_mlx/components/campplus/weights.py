"""Upstream's 937 tensors (`speaker_encoder.` in S3Gen's checkpoint) as parameters; paths stay."""

from __future__ import annotations

from pytorch_to_mlx.weights import Drop, Rename, Rule, WeightMap

_IMAGE, _SEQUENCE, _POINTWISE = "OIHW->OHWI", "OIK->OKI", "OI1->OI"
_STATISTICS = ("running_mean", "running_var")

_BLOCK = "head.layer{layer:d}.{block:d}"
_LAYER = "xvector.block{block:d}.tdnnd{layer:d}"


def _same(name: str, layout: str | None = None) -> Rule:
    return Rename(name, name.replace(":d", ""), layout)


def _norm(name: str, leaves: tuple[str, ...] = ("weight", "bias", *_STATISTICS)) -> list[Rule]:
    return [_same(f"{name}.{leaf}") for leaf in leaves]


WEIGHTS = WeightMap(
    _same("head.conv{n:d}.weight", _IMAGE),
    *_norm("head.bn{n:d}"),
    _same(f"{_BLOCK}.conv{{n:d}}.weight", _IMAGE),
    *_norm(f"{_BLOCK}.bn{{n:d}}"),
    _same(f"{_BLOCK}.shortcut.0.weight", _IMAGE),
    *_norm(f"{_BLOCK}.shortcut.1"),
    _same("xvector.tdnn.linear.weight", _SEQUENCE),
    *_norm("xvector.tdnn.nonlinear.batchnorm"),
    *_norm(f"{_LAYER}.nonlinear{{n:d}}.batchnorm"),
    _same(f"{_LAYER}.linear1.weight", _POINTWISE),
    _same(f"{_LAYER}.cam_layer.linear_local.weight", _SEQUENCE),
    _same(f"{_LAYER}.cam_layer.linear{{n:d}}.weight", _POINTWISE),
    _same(f"{_LAYER}.cam_layer.linear{{n:d}}.bias"),
    *_norm("xvector.transit{n:d}.nonlinear.batchnorm"),
    _same("xvector.transit{n:d}.linear.weight", _POINTWISE),
    *_norm("xvector.out_nonlinear.batchnorm"),
    _same("xvector.dense.linear.weight", _POINTWISE),
    *_norm("xvector.dense.nonlinear.batchnorm", _STATISTICS),
    Drop("{p*}.num_batches_tracked", "counts training steps", count=122),
)
