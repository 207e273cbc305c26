"""What a port declares: one architecture's variants, networks, weight maps, quantization policy and reference."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

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
        signature: tensors, and their shapes, that tell this checkpoint from any other; None for one that it has not.
        weights: the weight map.
        prefix: where its parameters stand in the model ("" for the whole model).
        optional: name of the configuration's boolean that says whether the part is there; such a part is left out
            unless asked for (`default_voice` with `--include-default-voice`).
        package: the package that ships this checkpoint, where it does not lie in the source; `environments.toml` has
            an environment of this name that brings it.
        refused: tensors by which to know a checkpoint that cannot be taken, and for each why, with the way out.
        instead: the same weights in other forms, such as a published ONNX model: each with its signature and map, taken
            where the checkpoint fits it and not this one. Their `files` are this part's.
    """

    files: tuple[str, ...]
    signature: Mapping[str, tuple[int, ...] | None]
    weights: WeightMap
    prefix: str = ""
    optional: str = ""
    package: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)
    instead: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Asset:
    """A file of the model folder that holds no weights: a tokenizer, a voice.

    Attributes:
        target: its name in the folder.
        files: names within the source that it is made of; all must be there.
        helpful: further ones, taken where they are there.
        patterns: further ones, whatever is called like these (fnmatch); there must be one.
        make: its content, from the paths by name; a copy of the only file if None.
        optional: as a part's; such an asset is left out unless asked for.
        notice: a sentence for the card of a folder that has it.
        package: as a part's.
    """

    target: str
    files: tuple[str, ...]
    helpful: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    make: Callable[[Mapping[str, Path]], bytes] | None = None
    optional: str = ""
    notice: str = ""
    package: str = ""


@dataclass(frozen=True)
class Settings:
    """A source's own configuration files, where they tell what the model is and how large.

    Attributes:
        files: JSON files within the source; all must be there.
        fits: whether their contents, by name, are of this variant.
        config: the variant's configuration from their contents. May raise `KeyError`, `TypeError` and `ValueError`:
            the files come from strangers.
        helpful: further ones, read where they are there.
        generic: names of checkpoints that many models' have. Where there are any, a checkpoint of another name does
            without `files`.
    """

    files: tuple[str, ...]
    fits: Callable[[Mapping[str, Any]], bool]
    config: Callable[[Mapping[str, Any]], Any]
    helpful: tuple[str, ...] = ()
    generic: tuple[str, ...] = ()


@dataclass(frozen=True)
class Variant:
    """One set of published weights of an architecture: a configuration, the parts of its checkpoint, and its assets.

    Attributes:
        licence: SPDX identifier of the weights' licence, or "unknown".
        base_model: the Hub repository of the originals, where there is one.
        notice: a sentence for the card and whoever converts, where there is something to know of every such folder.
        settings: the source's files that its configuration is read from; `config` is then that of the published one.
        example: options that the card's command line has, where the model does nothing without them.
    """

    name: str
    summary: str
    licence: str
    config: Any
    parts: tuple[Part, ...]
    base_model: str = ""
    assets: tuple[Asset, ...] = ()
    notice: str = ""
    settings: Settings | None = None
    example: str = ""


T = TypeVar("T")


def _matching(patterns: Mapping[str, T], name: str) -> T | None:
    return next((value for pattern, value in patterns.items() if fnmatchcase(name, pattern)), None)


@dataclass(frozen=True)
class Stage:
    """One step of a model that is checked by itself: cases of its own, bars, and how ours computes them.

    Attributes:
        run: computes one case: (subject, inputs, noise), with `parity.tap` recording on the way. The subject is the
            network at `network`, or the whole model where that is "".
        bars: what taps must hold, by mode ("float32", "float16", "bfloat16", "8-bit", ...) and tap pattern (fnmatch);
            the first pattern that matches counts, and a tap without one is only reported. A stage is left out in
            modes for which it has none.
        network: path of the network whose modules are recorded, and whose parameters the controls perturb.
        alive: the least that a case's measures must reach for it to prove anything, by measure.
        names: our names of taps that upstream calls otherwise.
        layouts: upstream's layout of taps and ours, by tap pattern, such as `{"conv[1-6]": "NCL1->NLC"}`.
        leading: patterns of taps whose recording holds the first items of the first axis only.
        control_case: the cheapest case, on which the controls are tried first; "" where another stage controls the
            same parameters.
        together: computes the case "all" from every case's inputs, where the reference has one.
    """

    run: Callable[[Any, Mapping[str, np.ndarray], Mapping[str, np.ndarray]], None]
    bars: Mapping[str, Mapping[str, Bar]]
    network: str = ""
    alive: Mapping[str, float] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    layouts: Mapping[str, str] = field(default_factory=dict)
    leading: tuple[str, ...] = ()
    control_case: str = "short"
    together: Callable[[Any, Sequence[Mapping[str, np.ndarray]]], None] | None = None

    def our_name(self, tap: str) -> str:
        """What we call upstream's tap."""
        return self.names.get(tap, tap)

    def layout(self, tap: str) -> str | None:
        """Upstream's layout of a tap and ours, where they differ."""
        return _matching(self.layouts, tap)

    def bar(self, mode: str, tap: str) -> Bar | None:
        """What a tap must hold; None where it is only reported."""
        return _matching(self.bars.get(mode, {}), tap)

    def leads(self, tap: str) -> bool:
        """Whether the recording of a tap may hold the first items of its first axis only."""
        return any(fnmatchcase(tap, pattern) for pattern in self.leading)


@dataclass(frozen=True)
class Reference:
    """The upstream PyTorch code that a port is checked against.

    Attributes:
        script: file name under `references/`.
        upstream: the judged package and version, for people.
        stages: by what stands before the first "/" in the names of their cases; "" for cases without one.
        elsewhere: by variant, stages that its recordings leave out, since another variant's have the same network.
        reduced: whether the script knows each variant in a small size too, `NAME-reduced`, to try things with.
    """

    script: str
    upstream: str
    stages: Mapping[str, Stage]
    elsewhere: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reduced: bool = False

    def stage(self, case: str) -> Stage:
        """The stage of the case called so. Raises `KeyError` if none is declared."""
        return self.stages[self.stage_name(case)]

    @staticmethod
    def stage_name(case: str) -> str:
        """What stands before the first "/" of a case's name, if anything does."""
        first, slash, _ = case.partition("/")
        return first if slash else ""

    @property
    def modes(self) -> tuple[str, ...]:
        """Every mode that some stage has bars for."""
        return tuple(dict.fromkeys(mode for stage in self.stages.values() for mode in stage.bars))


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
        model: (network, configuration, model folder) -> object with the task's methods.
        quantization: what may be quantized.
        reference: the upstream code to check against.
        front_end: what makes the network's input of a text, where that is no file of the folder but installed: its
            versions, in a line.
        imports: by name, other programs' conversions that can be taken instead of upstream's files. One is taken only
            where it is asked for by name, and never validated: it lacks the files that upstream would load.
    """

    name: str
    summary: str
    task: str
    variants: Mapping[str, Variant]
    config_type: type
    build: Callable[[Any], nn.Module]
    model: Callable[[Any, Any, Path], Any]
    quantization: QuantizationPolicy
    reference: Reference
    imports: Mapping[str, Variant] = field(default_factory=dict)
    front_end: Callable[[], str] = lambda: ""

    def network(self, config: Any) -> nn.Module:
        """The network of a configuration, without weights.

        Raises:
            ConfigError: there is none of these sizes.
        """
        try:
            return self.build(config)
        except Exception as error:  # sizes that cannot be meet MLX's and Python's own errors, of many types
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(f"config.json: no {self.name} has these settings ({reason})") from error

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

        return TypeAdapter(self.config_type).dump_python(config, mode="json", warnings=False)


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
