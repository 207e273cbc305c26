"""Which modules a port lets be quantized, which never, and why: decided per layer and recorded in `config.json`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pytorch_to_mlx.errors import QuantizationError
from pytorch_to_mlx.weights import TensorSpec

if TYPE_CHECKING:
    import mlx.nn as nn

BITS = (2, 3, 4, 5, 6, 8)
GROUP_SIZES = (32, 64, 128)


@dataclass(frozen=True)
class Choice:
    """Modules whose path matches `pattern` (a regular expression for the whole path), and why they are treated so."""

    pattern: str
    reason: str


@dataclass(frozen=True)
class QuantizationPolicy:
    """What a port allows: `quantize` lists modules to quantize, `never` those that stay as they are.

    Every module that MLX could quantize must match exactly one of the two lists, so that no layer is quantized, or
    left, by accident.
    """

    quantize: tuple[Choice, ...] = ()
    never: tuple[Choice, ...] = ()

    def decide(self, model: nn.Module, bits: int, group_size: int) -> Quantization:
        """The treatment of each quantizable module of `model`.

        Raises:
            QuantizationError: bits or group size that MLX has not, a layer whose width the group size does not divide,
                a module that the policy does not speak of or speaks of twice, or nothing to quantize.
        """
        if bits not in BITS:
            raise QuantizationError(f"--q-bits {bits} is not one of {', '.join(map(str, BITS))}")
        if group_size not in GROUP_SIZES:
            raise QuantizationError(f"--q-group-size {group_size} is not one of {', '.join(map(str, GROUP_SIZES))}")
        layers: list[str] = []
        kept: dict[str, str] = {}
        for path, module in model.named_modules():
            if not hasattr(module, "to_quantized"):
                continue
            yes = [c for c in self.quantize if re.fullmatch(c.pattern, path)]
            no = [c for c in self.never if re.fullmatch(c.pattern, path)]
            if len(yes) + len(no) != 1:
                word = "does not speak of" if not yes and not no else "speaks more than once of"
                raise QuantizationError(f"the quantization policy {word} {path}")
            if no:
                kept[path] = no[0].reason
            elif module["weight"].shape[-1] % group_size:
                width = module["weight"].shape[-1]
                raise QuantizationError(f"--q-group-size {group_size} does not divide the width {width} of {path}")
            else:
                layers.append(path)
        if not layers:
            reasons = "; ".join(sorted({*kept.values(), *(c.reason for c in self.never)}))
            raise QuantizationError(f"nothing in this model may be quantized ({reasons}); convert without -q")
        return Quantization(bits, group_size, tuple(sorted(layers)), dict(sorted(kept.items())))


@dataclass(frozen=True)
class Quantization:
    """Affine quantization as applied: the quantized layers' paths, and the kept ones with the reason."""

    bits: int
    group_size: int
    layers: tuple[str, ...]
    kept: Mapping[str, str]

    def to_config(self) -> dict[str, Any]:
        """The `quantization` entry of `config.json`."""
        each = {"bits": self.bits, "group_size": self.group_size}
        return {
            **each,
            "mode": "affine",
            "layers": dict.fromkeys(self.layers, each),
            "kept": dict(self.kept),
        }

    def specs(self, spec: TensorSpec) -> tuple[TensorSpec, ...]:
        """What is written in place of `spec`: itself, or packed weight, scales and biases."""
        path, _, leaf = spec.name.rpartition(".")
        if leaf != "weight" or path not in self.layers:
            return (spec,)
        *rows, width = spec.shape
        groups = (*rows, width // self.group_size)
        return (
            TensorSpec(spec.name, (*rows, width * self.bits // 32), "uint32"),
            TensorSpec(f"{path}.scales", groups, spec.dtype),
            TensorSpec(f"{path}.biases", groups, spec.dtype),
        )

    def arrays(self, array: np.ndarray) -> Iterator[np.ndarray]:
        """The arrays of `specs` for one quantized weight."""
        import mlx.core as mx

        from pytorch_to_mlx.arrays import to_mlx, to_numpy

        yield from map(to_numpy, mx.quantize(to_mlx(array), self.group_size, self.bits))


def recorded_layers(config: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Bits and group size of each layer, from what `Quantization.to_config` made; config.json may be a stranger's.

    Raises:
        QuantizationError: that is damaged.
    """
    layers = config.get("layers")
    if set(config) != {"bits", "group_size", "mode", "layers", "kept"} or config["mode"] != "affine":
        raise QuantizationError("config.json: quantization is not as convert writes it; convert the model again")
    if not isinstance(layers, dict) or not all(map(_is_treatment, layers.values())) or not _is_treatment(config):
        raise QuantizationError("config.json: quantization has bits, group sizes or layers that MLX has not")
    return {path: {key: each[key] for key in ("bits", "group_size")} for path, each in layers.items()}


def _is_treatment(fields: Any) -> bool:
    if not isinstance(fields, Mapping):
        return False
    bits, group_size = fields.get("bits"), fields.get("group_size")
    return type(bits) is int and bits in BITS and type(group_size) is int and group_size in GROUP_SIZES
