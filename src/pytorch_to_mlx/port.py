"""What a port declares: one architecture's variants, networks, weight maps, quantization policy and reference."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytorch_to_mlx.errors import ConfigError

if TYPE_CHECKING:
    import mlx.nn as nn
    import numpy as np

    from pytorch_to_mlx.parity import Bar
    from pytorch_to_mlx.quantization import QuantizationPolicy
    from pytorch_to_mlx.weights import WeightMap


@dataclass(frozen=True)
class Part:
    """One checkpoint of a source, and the map that makes parameters of it.

    Attributes:
        files: names within the source, the first that exists is taken.
        signature: tensors, and their shapes, that tell this checkpoint from any other.
        weights: the weight map.
        prefix: where its parameters stand in the model ("" for the whole model).
        optional: name of the configuration's boolean that says whether the part is there; such a part is left out
            unless asked for (`default_voice` with `--include-default-voice`).
    """

    files: tuple[str, ...]
    signature: Mapping[str, tuple[int, ...]]
    weights: WeightMap
    prefix: str = ""
    optional: str = ""


@dataclass(frozen=True)
class Variant:
    """One set of published weights of an architecture: a configuration and the parts of its checkpoint.

    Attributes:
        licence: SPDX identifier of the weights' licence, or "unknown".
        base_model: the Hub repository of the originals, where there is one.
    """

    name: str
    summary: str
    licence: str
    config: Any
    parts: tuple[Part, ...]
    base_model: str = ""


@dataclass(frozen=True)
class Reference:
    """The upstream PyTorch code that a port is checked against.

    Attributes:
        script: file name under `references/`.
        upstream: the judged package and version, for people.
        bars: what taps must hold, by mode ("float32", "float16", "bfloat16", "8-bit", ...) and tap pattern (fnmatch);
            the first pattern that matches counts, and a tap without one is only reported.
        alive: the least that a case's measures must reach for it to prove anything, by measure.
        names: our names of taps that upstream calls otherwise.
        layouts: upstream's layout of taps and ours, by tap pattern, such as `{"conv[1-6]": "NCL1->NLC"}`.
        leading: patterns of taps whose recording holds the first items of the first axis only.
        control_case: the cheapest case, on which the controls are tried first.
        run: computes one case: (model, inputs, noise), with `parity.tap` recording on the way.
        together: computes the case "all" from every case's inputs, where the reference has one.
    """

    script: str
    upstream: str
    run: Callable[[Any, Mapping[str, np.ndarray], Mapping[str, np.ndarray]], None]
    bars: Mapping[str, Mapping[str, Bar]]
    alive: Mapping[str, float] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    layouts: Mapping[str, str] = field(default_factory=dict)
    leading: tuple[str, ...] = ()
    control_case: str = "short"
    together: Callable[[Any, Sequence[Mapping[str, np.ndarray]]], None] | None = None


@dataclass(frozen=True)
class Port:
    """One architecture: everything that conversion, loading and validation need to know of it.

    Attributes:
        name: `model_type` in `config.json`.
        summary: one line for `list` and the card.
        task: what a loaded model offers, a name from `tasks`.
        variants: by name.
        config_type: the configuration's dataclass.
        build: configuration -> network with upstream's parameter names, weights not yet loaded.
        model: (network, configuration) -> object with the task's methods.
        quantization: what may be quantized.
        reference: the upstream code to check against.
    """

    name: str
    summary: str
    task: str
    variants: Mapping[str, Variant]
    config_type: type
    build: Callable[[Any], nn.Module]
    model: Callable[[Any, Any], Any]
    quantization: QuantizationPolicy
    reference: Reference

    def parse_config(self, fields: Mapping[str, Any]) -> Any:
        """The configuration from its JSON form.

        Raises:
            ConfigError: a field is unknown, missing or of the wrong type.
        """
        from pydantic import TypeAdapter, ValidationError

        unknown = set(fields) - {f.name for f in dataclasses.fields(self.config_type)}
        if unknown:
            raise ConfigError(f"config.json: {self.name} has no setting {min(unknown)[:80]!r}")
        try:
            return TypeAdapter(self.config_type).validate_json(json.dumps(fields), strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise ConfigError(f"config.json: setting {where} of {self.name}: {first['msg']}") from error

    def dump_config(self, config: Any) -> dict[str, Any]:
        """The JSON form of a configuration."""
        from pydantic import TypeAdapter

        return TypeAdapter(self.config_type).dump_python(config, mode="json")


def floating_parameters(network: nn.Module) -> set[str]:
    """The names of the parameters that are floating-point numbers."""
    import mlx.core as mx
    from mlx.utils import tree_flatten

    flat: list[tuple[str, Any]] = tree_flatten(network.parameters())  # type: ignore[assignment]
    return {name for name, array in flat if mx.issubdtype(array.dtype, mx.floating)}


def parameter_shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Every parameter's shape by name; none is computed for it."""
    from mlx.utils import tree_flatten

    flat: list[tuple[str, Any]] = tree_flatten(network.parameters())  # type: ignore[assignment]
    return {name: tuple(array.shape) for name, array in flat}
