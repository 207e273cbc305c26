"""Which port, variant and files a source is: from the files that ports declare, then from tensor names and shapes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytorch_to_mlx import environments, hub, registry
from pytorch_to_mlx.checkpoint import Checkpoint, open_checkpoint
from pytorch_to_mlx.errors import SourceError, UsageError
from pytorch_to_mlx.port import Part, Port, Variant


@dataclass(frozen=True)
class Match:
    """A source and what it was found to be. `files` holds each part's checkpoint, by the part's prefix."""

    source: hub.Source
    port: Port
    variant: Variant
    files: Mapping[str, Path]

    @property
    def parts(self) -> tuple[Part, ...]:
        """The variant's parts that are taken."""
        return tuple(part for part in self.variant.parts if part.prefix in self.files)

    @property
    def config(self) -> Any:
        """The variant's configuration, with the optional parts that are taken."""
        return replace(self.variant.config, **{part.optional: True for part in self.parts if part.optional})


def match(
    source: str,
    *,
    port: str | None = None,
    variant: str | None = None,
    revision: str | None = None,
    include: Collection[str] = (),
    offline: bool = False,
) -> Match:
    """Resolve a source and recognise it; of a Hub repository only the files that the port names are fetched.

    Args:
        source: path, `package:NAME` or `owner/name`.
        port, variant: to choose where several fit, or to insist.
        revision: of a Hub repository.
        include: names of optional parts to take.
        offline: take Hub repositories from the cache only.

    Raises:
        SourceError: not found, not recognised, or several variants fit.
        UsageError: no such port, variant or optional part.
    """
    candidates = _candidates(port, variant)
    include = {name.replace("-", "_") for name in include}
    _check_include(include, candidates)
    if hub.is_repository(source):
        listed = hub.hub_files(source, revision, offline=offline)
        fitting = [c for c in candidates if _chosen(c[1], listed, include) is not None]
        one = _only(source, fitting, candidates)
        files = _chosen(one[1], listed, include) or {}
        resolved = hub.resolve(source, revision=revision, patterns=_patterns(files.values()), offline=offline)
        found = {prefix: resolved.path / name for prefix, name in files.items()}
        return _checked(Match(resolved, *one, found))
    resolved = hub.resolve(source, revision=revision, search_paths=environments.search_paths())
    if resolved.path.is_file():
        with open_checkpoint(resolved.path) as checkpoint:
            # One file is a whole model only where no other part has to come from elsewhere.
            fitting = [c for c in candidates if len(c[1].parts) == 1 and _fits(c[1].parts[0], checkpoint)]
        one = _only(source, fitting, candidates)
        return Match(resolved, *one, {one[1].parts[0].prefix: resolved.path})
    present = {file.relative_to(resolved.path).as_posix() for file in resolved.path.rglob("*") if file.is_file()}
    fitting = [c for c in candidates if _chosen(c[1], present, include) is not None]
    one = _only(source, fitting, candidates)
    files = _chosen(one[1], present, include) or {}
    return _checked(Match(resolved, *one, {prefix: resolved.path / name for prefix, name in files.items()}))


def _candidates(port: str | None, variant: str | None) -> list[tuple[Port, Variant]]:
    ports = [registry.get(name) for name in ([port] if port else registry.names())]
    found = [(p, v) for p in ports for v in p.variants.values() if variant in (None, v.name)]
    if not found:
        known = ", ".join(v for p in ports for v in p.variants)
        raise UsageError(f"--variant {variant}: no such variant; known: {known}")
    return found


def _check_include(include: AbstractSet[str], candidates: Sequence[tuple[Port, Variant]]) -> None:
    optional = {part.optional for _, variant in candidates for part in variant.parts if part.optional}
    for name in sorted(include - optional):
        known = ", ".join(sorted(optional)) or "no model here has one"
        raise UsageError(f"--include-{name.replace('_', '-')}: no such optional part; known: {known}")


def _chosen(variant: Variant, present: Collection[str], include: Collection[str]) -> dict[str, str] | None:
    """Each wanted part's file among those present; None if one is missing."""
    files: dict[str, str] = {}
    for part in variant.parts:
        if part.optional and part.optional not in include:
            continue
        name = next((f for f in part.files if f in present), None)
        if name is None:
            return None
        files[part.prefix] = name
    return files


def _patterns(files: Collection[str]) -> list[str]:
    """The files, and the shards of those that are indexes."""
    patterns = list(files)
    for name in files:
        stem, index, _ = name.partition(".index.json")
        if index:
            base, _, suffix = stem.rpartition(".")
            patterns.append(f"{base}-*.{suffix}")
    return patterns


def _only(
    source: str, fitting: Sequence[tuple[Port, Variant]], candidates: Sequence[tuple[Port, Variant]]
) -> tuple[Port, Variant]:
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        ports = {port.name: port for port, _ in candidates}
        known = ", ".join(f"{name} ({', '.join(port.variants)})" for name, port in ports.items())
        raise SourceError(
            f"{source} is none of the models known by name: {known}; pytorch-to-mlx inspect shows what is in it"
        )
    choices = ", ".join(f"{variant.name} ({port.name})" for port, variant in fitting)
    raise SourceError(f"{source} holds several models; choose one with --variant: {choices}")


def _fits(part: Part, checkpoint: Checkpoint) -> bool:
    return all(name in checkpoint and checkpoint.info(name).shape == shape for name, shape in part.signature.items())


def _checked(found: Match) -> Match:
    for part in found.parts:
        path = found.files[part.prefix]
        with open_checkpoint(path) as checkpoint:
            if not _fits(part, checkpoint):
                wanted = ", ".join(f"{name} {shape}" for name, shape in part.signature.items())
                raise SourceError(f"{path.name} is not {found.port.name} {found.variant.name}: it lacks {wanted}")
    return found
