"""Quantized linear layers and tables, quick for many rows too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.errors import QuantizationError
from pytorch_to_mlx.layers.device import linux_cpu
from pytorch_to_mlx.quantization import recorded_layers

FEW_ROWS = 6  # of float32: up to here reading packed weights for each row costs less than unpacking, with OpenBLAS


class QuantizedLinear(nn.QuantizedLinear):
    """`nn.QuantizedLinear`, which on the Linux CPU backend unpacks its weight once for all rows.

    MLX's own product unpacks it for each row, and multiplies without BLAS (`benchmarks/layers.py`). In half precision
    a single row is slow too; the product is float32's there, rounded.
    """

    def __call__(self, x: mx.array) -> mx.array:
        """(..., in) to (..., out)."""
        if not _is_slow(x):
            return super().__call__(x)
        y = _product(x, self)
        return y + self.bias if "bias" in self else y


class QuantizedEmbedding(nn.QuantizedEmbedding):
    """`nn.QuantizedEmbedding`, whose table is as quick a linear layer as `QuantizedLinear`."""

    def as_linear(self, x: mx.array) -> mx.array:
        """(..., dimensions) to (..., vocabulary)."""
        return _product(x, self) if _is_slow(x) else super().as_linear(x)


def quantize_modules(network: nn.Module, config: Mapping[str, Any]) -> None:
    """Replace the layers that `config` (the `quantization` entry of `config.json`) names by quantized ones, in place.

    Raises:
        QuantizationError: the entry is damaged, or a named layer does not exist or cannot be quantized like that.
    """
    layers = recorded_layers(config)
    modules = dict(network.named_modules())
    for path, each in layers.items():
        if path not in modules or not hasattr(modules[path], "to_quantized"):
            raise QuantizationError(f"config.json quantizes {path[:80]!r}, which is not a layer that can be")
        if modules[path]["weight"].shape[-1] % each["group_size"]:
            raise QuantizationError(f"config.json quantizes {path} in groups that do not divide its width")
    nn.quantize(network, class_predicate=lambda path, _: layers.get(path, False))
    lower_quantized(network)


def lower_quantized(network: nn.Module) -> None:
    """Make MLX's quantized layers within `network` those of this file, in place; others than affine ones stay."""
    lowered = {nn.QuantizedLinear: QuantizedLinear, nn.QuantizedEmbedding: QuantizedEmbedding}
    for module in network.modules():
        if type(module) in lowered and module.mode == "affine":
            module.__class__ = lowered[type(module)]


def unpacked(layer: nn.Module, after: mx.array | None = None) -> mx.array:
    """The weight that a quantized layer's packed numbers stand for, (out, in), in float32; once `after` is computed."""
    # Else MLX, which sees nothing to wait for, unpacks the weights of layers far ahead, and holds them.
    packed = layer["weight"] if after is None else mx.depends([layer["weight"]], [after])[0]
    scales, biases = (layer[name].astype(mx.float32) for name in ("scales", "biases"))
    return mx.dequantize(packed, scales, biases, layer.group_size, layer.bits)


def _is_slow(x: mx.array) -> bool:
    return linux_cpu() and (x.dtype != mx.float32 or x.size // x.shape[-1] > FEW_ROWS)


def _product(x: mx.array, layer: nn.Module) -> mx.array:
    weight = unpacked(layer, after=x)
    return (x.astype(mx.float32) @ weight.T).astype(mx.result_type(x, layer["scales"]))
