"""Quantized linear layers and tables, quick for many rows too."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.layers.device import linux_cpu

FEW_ROWS = 6  # of float32: up to here reading the packed weight for each row costs less than unpacking it


class QuantizedLinear(nn.QuantizedLinear):
    """`nn.QuantizedLinear`, which on the Linux CPU backend unpacks its weight once for all rows.

    MLX's own product unpacks it for each row, and multiplies without BLAS: 1500 rows of 1280 values to 5120 take 70
    times as long so. In half precision that holds of a single row too; there the product is float32's, rounded.
    """

    def __call__(self, x: mx.array) -> mx.array:
        """(..., in) to (..., out)."""
        if not _unpacked(x):
            return super().__call__(x)
        y = _product(x, self)
        return y + self.bias if "bias" in self else y


class QuantizedEmbedding(nn.QuantizedEmbedding):
    """`nn.QuantizedEmbedding`, whose table is as quick a linear layer as `QuantizedLinear`."""

    def as_linear(self, x: mx.array) -> mx.array:
        """(..., dimensions) to (..., vocabulary)."""
        return _product(x, self) if _unpacked(x) else super().as_linear(x)


def lower_quantized(network: nn.Module) -> None:
    """Make MLX's quantized layers within `network` those of this file, in place."""
    lowered = {nn.QuantizedLinear: QuantizedLinear, nn.QuantizedEmbedding: QuantizedEmbedding}
    for module in network.modules():
        module.__class__ = lowered.get(type(module), type(module))


def _unpacked(x: mx.array) -> bool:
    return linux_cpu() and (x.dtype != mx.float32 or x.size // x.shape[-1] > FEW_ROWS)


def _product(x: mx.array, layer: nn.Module) -> mx.array:
    scales, biases = (layer[name].astype(mx.float32) for name in ("scales", "biases"))
    weight = mx.dequantize(layer["weight"], scales, biases, layer.group_size, layer.bits)
    return (x.astype(mx.float32) @ weight.T).astype(mx.result_type(x, layer["scales"]))
