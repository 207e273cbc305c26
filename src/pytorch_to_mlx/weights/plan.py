"""A weight map matched against one checkpoint and one model: complete accounting first, then one tensor at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Protocol

import numpy as np

from pytorch_to_mlx.errors import WeightMapError
from pytorch_to_mlx.weights.rules import Drop, Fuse, Rule, Shape, Split, Tied


class TensorLike(Protocol):
    """What a plan needs to know of a source tensor."""

    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> Shape: ...


class Tensors(Protocol):
    """A checkpoint, as far as a plan uses it."""

    def __iter__(self) -> Iterator[str]: ...
    def info(self, name: str) -> TensorLike: ...
    def read(self, name: str) -> np.ndarray: ...


def numpy_dtype(name: str) -> np.dtype:
    """The numpy dtype of a name; bfloat16 and float8 come through ml_dtypes."""
    if name.startswith(("bfloat", "float8")):
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, name))
    return np.dtype(name)


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape and dtype of one tensor that a conversion writes."""

    name: str
    shape: Shape
    dtype: str

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return prod(self.shape) * numpy_dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Step:
    """One application of a rule: its sources and what it makes of them."""

    rule: Rule
    sources: tuple[str, ...]
    outputs: tuple[TensorSpec, ...]
    tied_to: str | None = None


@dataclass(frozen=True)
class Row:
    """One line of the accounting table; `target` is empty for a dropped tensor."""

    source: str
    source_shape: Shape
    dtype: str
    target: str
    target_shape: Shape | None
    action: str


@dataclass(frozen=True)
class Plan:
    """A weight map applied to one checkpoint's names and shapes: complete on both sides."""

    steps: tuple[Step, ...]
    infos: Mapping[str, TensorLike]

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Every parameter that `apply` yields, in its order."""
        return tuple(spec for step in self.steps for spec in step.outputs)

    def apply(self, tensors: Tensors) -> Iterator[tuple[str, np.ndarray]]:
        """Yield (name, array) for each output; holds one step's tensors at a time.

        Raises:
            WeightMapError: a tensor declared as tied differs from the one it is tied to.
        """
        for step in self.steps:
            if step.tied_to is not None and not _same_bits(tensors.read(step.sources[0]), tensors.read(step.tied_to)):
                raise WeightMapError(f"{step.sources[0]} should be tied to {step.tied_to}, but their values differ")
            if step.outputs:
                arrays = step.rule.compute([tensors.read(name) for name in step.sources])
                for spec, array in zip(step.outputs, arrays, strict=True):
                    yield spec.name, array

    def table(self) -> list[Row]:
        """The accounting: a row for each source tensor, and for each further target of a split."""
        rows: list[Row] = []
        for step in self.steps:
            for i in range(max(len(step.sources), len(step.outputs))):
                source = step.sources[min(i, len(step.sources) - 1)]
                target = step.outputs[min(i, len(step.outputs) - 1)] if step.outputs else None
                info = self.infos[source]
                name, shape = (target.name, target.shape) if target else ("", None)
                rows.append(Row(source, info.shape, info.dtype, name, shape, step.rule.action))
        return rows


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


@dataclass(frozen=True, init=False)
class WeightMap:
    """Rules that together cover a checkpoint; no tensor may match two of them."""

    rules: tuple[Rule, ...]

    def __init__(self, *rules: Rule) -> None:
        object.__setattr__(self, "rules", rules)

    def __add__(self, other: WeightMap) -> WeightMap:
        return WeightMap(*self.rules, *other.rules)

    def under(self, source_prefix: str, target_prefix: str) -> WeightMap:
        """The same map for a network that is one part of a larger checkpoint and model."""
        return WeightMap(*(_prefixed(rule, source_prefix, target_prefix) for rule in self.rules))

    def plan(self, tensors: Tensors, expected: Mapping[str, Shape], *, where: str = "checkpoint") -> Plan:
        """Account for every source tensor and every expected parameter.

        Args:
            tensors: the checkpoint; only names, shapes and dtypes are asked for.
            expected: the model's parameters and their shapes.
            where: the checkpoint's name, for messages.

        Raises:
            WeightMapError: names every tensor that is missing, left over, mis-shaped or claimed twice.
        """
        # The formats keep tensors in orders of their own; what is written must not depend on the format.
        infos = {name: tensors.info(name) for name in sorted(tensors, key=_natural)}
        problems: list[str] = []
        steps: list[Step] = []
        taken: dict[str, Rule] = {}
        for rule in self.rules:
            found = _apply_rule(rule, infos, taken, problems)
            steps += found
            if not found and not rule.optional:
                problems.append(f"missing {' or '.join(', '.join(form) for form in rule.forms)}")
            if isinstance(rule, Drop) and found and rule.count not in (None, len(found)):
                problems.append(f"{len(found)} tensors match {rule.source} to drop, not {rule.count}")
        problems += [f"left over {name} {infos[name].shape}" for name in infos if name not in taken]
        problems += _check_targets(steps, expected)
        if problems:
            raise WeightMapError(f"{where} does not fit: {_listed(problems)}", problems)
        return Plan(tuple(steps), infos)


def _apply_rule(rule: Rule, infos: Mapping[str, TensorLike], taken: dict[str, Rule], problems: list[str]) -> list[Step]:
    steps: list[Step] = []
    for form in rule.forms:
        first = _regex(form[0])
        for name in infos:
            match = first.fullmatch(name)
            if match is None:
                continue
            fields = match.groupdict()
            sources = tuple(_fill(template, fields) for template in form)
            tied_to = _fill(rule.to, fields) if isinstance(rule, Tied) else None
            missing = [s for s in (*sources, *([tied_to] if tied_to else [])) if s not in infos]
            problems += [f"missing {s} (it belongs with {name})" for s in missing]
            for source in sources:
                if source in taken:
                    problems.append(f"{source} matches two rules ({taken[source].action}; {rule.action})")
                taken[source] = rule
            if not missing:
                targets = [_fill(template, fields) for template in rule.outputs]
                steps.append(_make_step(rule, sources, targets, tied_to, infos, problems))
    return steps


def _make_step(
    rule: Rule,
    sources: tuple[str, ...],
    targets: list[str],
    tied_to: str | None,
    infos: Mapping[str, TensorLike],
    problems: list[str],
) -> Step:
    try:
        shapes = rule.shapes([infos[s].shape for s in sources])
    except WeightMapError as error:
        problems.append(f"{', '.join(sources)}: {error}")
        shapes = [()] * len(targets)
    dtypes = sorted({infos[s].dtype for s in sources})
    if isinstance(rule, Fuse) and len(dtypes) > 1:
        problems.append(f"{', '.join(sources)}: dtypes {', '.join(dtypes)} differ; only tensors of one dtype are fused")
    dtype = infos[sources[-1]].dtype
    outputs = tuple(TensorSpec(name, shape, dtype) for name, shape in zip(targets, shapes, strict=True))
    return Step(rule, sources, outputs, tied_to)


def _check_targets(steps: list[Step], expected: Mapping[str, Shape]) -> list[str]:
    problems: list[str] = []
    filled: dict[str, str] = {}
    for step in steps:
        for spec in step.outputs:
            source = step.sources[0]
            if spec.name in filled:
                problems.append(f"{spec.name} is filled twice, from {filled[spec.name]} and {source}")
            elif spec.name not in expected:
                problems.append(f"{source} maps to {spec.name}, which the model does not have")
            elif spec.shape != expected[spec.name]:
                problems.append(f"{source} gives {spec.name} shape {spec.shape}, the model has {expected[spec.name]}")
            filled[spec.name] = source
    return problems + [f"nothing fills {name} {shape}" for name, shape in expected.items() if name not in filled]


def _listed(problems: list[str], limit: int = 12) -> str:
    more = f"; and {len(problems) - limit} more (pytorch-to-mlx inspect shows all)" if len(problems) > limit else ""
    return "; ".join(problems[:limit]) + more


_FIELD = re.compile(r"\{(\w+)(\*|:d)?\}")
_FIELD_PATTERNS = {None: "[^.]+", ":d": "[0-9]+", "*": ".+"}


def _natural(name: str) -> list[tuple[int, str]]:
    """A sort key by which `layers.2` comes before `layers.10`."""
    return [(len(part) if i % 2 else 0, part) for i, part in enumerate(re.split(r"([0-9]+)", name))]


def _regex(template: str) -> re.Pattern[str]:
    seen: set[str] = set()
    pattern, position = "", 0
    for field in _FIELD.finditer(template):
        name, kind = field.groups()
        pattern += re.escape(template[position : field.start()])
        pattern += f"(?P={name})" if name in seen else f"(?P<{name}>{_FIELD_PATTERNS[kind]})"
        seen.add(name)
        position = field.end()
    return re.compile(pattern + re.escape(template[position:]))


def _fill(template: str, fields: Mapping[str, str]) -> str:
    return _FIELD.sub(lambda field: fields[field.group(1)], template)


def _prefixed(rule: Rule, source: str, target: str) -> Rule:
    changes: dict[str, Any] = {
        field: (target if field == "target" else source) + getattr(rule, field)
        for field in ("source", "module", "to", "sums", "usage", "target")
        if hasattr(rule, field)
    }
    if isinstance(rule, Fuse):
        changes["sources"] = tuple(source + s for s in rule.sources)
    if isinstance(rule, Split):
        changes["targets"] = tuple(target + t for t in rule.targets)
    return replace(rule, **changes)
