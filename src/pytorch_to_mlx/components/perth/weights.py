"""Where Perth's trained weights are, and what becomes of each tensor."""

from __future__ import annotations

from pytorch_to_mlx.weights import Drop, Rename, WeightMap

PACKAGE = "resemble-perth"
FILES = ("perth_net/pretrained/implicit/perth_net_250000.pth.tar",)
SIGNATURE = {
    "model.encoder.layers.6.conv.weight": (128, 256, 1),
    "model.decoder.fast_layers.6.conv.weight": (2, 256, 1),
}

WEIGHTS = WeightMap(
    Rename("encoder.layers.{n:d}.conv.weight", "encoder.layers.{n}.conv.weight", "OIK->OKI"),
    Rename("encoder.layers.{n:d}.conv.bias", "encoder.layers.{n}.conv.bias"),
    Rename("decoder.{branch}.{n:d}.conv.weight", "decoder.{branch}.{n}.conv.weight", "OIK->OKI"),
    Rename("decoder.{branch}.{n:d}.conv.bias", "decoder.{branch}.{n}.conv.bias"),
    Drop("ap.{transform}.window", "the Hann window, which is computed", count=2),
    Drop("ap.stretch.phase_advance", "for stretching time in training", count=1),
).under("model.", "")
"""From the file, which nests the state dict."""
