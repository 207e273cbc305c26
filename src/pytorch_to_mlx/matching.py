"""Which port, variant and files a source is: from the files that ports declare, then from tensor names and shapes."""

from __future__ import annotations

import fnmatch
import itertools
import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pytorch_to_mlx import environments, hub, registry
from pytorch_to_mlx.checkpoint import Checkpoint, open_checkpoint
from pytorch_to_mlx.errors import CheckpointError, ConfigError, SourceError, UnrecognisedSourceError, UsageError
from pytorch_to_mlx.port import Asset, Part, Port, Settings, Variant

MOST_SETTINGS = 16 * 2**20  # bytes of a file of settings
AS_PUBLISHED = "give the files as they were published"


@dataclass(frozen=True)
class Match:
    """A source and what it was found to be.

    Attributes:
        files: each part's checkpoint, by the part's prefix.
        assets: the files that each asset is made of, by its target and their names in the source.
        packaged: where the checkpoints come from that do not lie in the source, by the part's prefix.
        packaged_assets: likewise the assets, by their target, and their files.
    """

    source: hub.Source
    port: Port
    variant: Variant
    files: Mapping[str, Path]
    assets: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)
    packaged: Mapping[str, hub.Source] = field(default_factory=dict)
    packaged_assets: Mapping[str, tuple[hub.Source, Mapping[str, Path]]] = field(default_factory=dict)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The variant's parts that are taken."""
        return tuple(part for part in self.variant.parts if part.prefix in self.files)

    @property
    def config(self) -> Any:
        """The variant's configuration, with the optional parts and assets that are taken."""
        taken = {part.optional for part in self.parts} | {a.optional for a in self.taken_assets}
        return replace(self.variant.config, **dict.fromkeys(taken - {""}, True))

    @property
    def taken_assets(self) -> tuple[Asset, ...]:
        """The variant's assets that are taken."""
        return tuple(asset for asset in self.variant.assets if asset.target in {**self.assets, **self.packaged_assets})

    def files_of(self, asset: Asset) -> Mapping[str, Path]:
        """The files that a taken asset is made of, by their names."""
        return self.packaged_assets[asset.target][1] if asset.package else self.assets[asset.target]


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
        UnrecognisedSourceError: no model that is known, or not the one asked for.
        SourceError: not found, or several variants fit.
        UsageError: no such port, variant or optional part.
    """
    candidates = _candidates(port, variant)
    include = {name.replace("-", "_") for name in include}
    _check_include(include, candidates)
    if hub.is_repository(source):
        listed = hub.hub_files(source, revision, offline=offline)

        def fetched(name: str) -> Path:
            nonlocal revision
            one = hub.resolve(source, revision=revision, patterns=[name], offline=offline)
            revision = one.revision  # what follows is of the same commit
            return one.path / name

        files = _Files(
            listed.__contains__,
            lambda pattern: [n for n in fnmatch.filter(listed, pattern) if n.count("/") == pattern.count("/")],
        )
        told = _Told(files, fetched)
        port_found, fitting = _only(source, candidates, lambda v: _fits(v, told, include))
        chosen = _chosen(fitting, files, include)
        resolved = hub.resolve(source, revision=revision, patterns=_patterns(chosen.names), offline=offline)
        return _checked(_matched(resolved, port_found, _configured(port_found, fitting, told), chosen))
    resolved = hub.resolve(source, revision=revision, search_paths=environments.search_paths())
    if resolved.path.is_file():
        alone = _Told(_Files({resolved.path.name}.__contains__, lambda _: []), lambda _: resolved.path)
        with open_checkpoint(resolved.path) as checkpoint:
            # One file is a whole model only where no other part has to come from elsewhere.
            known, fitting = _only(
                source, candidates, lambda v: _is_one_file(v) and bool(_forms(v.parts[0], checkpoint)), alone
            )
            part = _forms(fitting.parts[0], checkpoint)[0]
        taken = _matched(resolved, known, replace(fitting, parts=(part,)), _Chosen())
        return replace(taken, files={part.prefix: resolved.path})

    def present(name: str) -> bool:
        # Path.is_file raises where a folder may not be entered.
        return os.path.isfile(resolved.path / name)  # noqa: PTH113

    def like(pattern: str) -> list[str]:
        found = sorted(path.relative_to(resolved.path).as_posix() for path in resolved.path.glob(pattern))
        return list(filter(present, found))

    files = _Files(present, like)
    told = _Told(files, lambda name: resolved.path / name)
    known, fitting = _only(source, candidates, lambda v: _fits(v, told, include), told)
    chosen = _chosen(fitting, files, include)
    return _checked(_matched(resolved, known, _configured(known, fitting, told), chosen))


@dataclass(frozen=True)
class _Files:
    """What a source has: whether a name is there, and the names that are like a pattern."""

    present: Callable[[str], bool]
    like: Callable[[str], list[str]]


@dataclass
class _Told:
    """What a source's own configuration files say, each read once."""

    files: _Files
    path: Callable[[str], Path]
    _contents: dict[str, Any] = field(default_factory=dict)

    def contents(self, settings: Settings) -> dict[str, Any]:
        """Of those that are there, by name. Raises `SourceError` for a file that is no JSON."""
        names = [name for name in (*settings.files, *settings.helpful) if self.files.present(name)]
        for name in names:
            if name not in self._contents:
                self._contents[name] = _read_json(self.path(name))
        return {name: self._contents[name] for name in names}


def _read_json(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            text = file.read(MOST_SETTINGS + 1)
    except OSError as error:
        raise SourceError(f"{path} cannot be read ({error.strerror})") from error
    if len(text) > MOST_SETTINGS:
        raise SourceError(f"{path} has more than {MOST_SETTINGS} bytes, too many for a configuration")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path} is no JSON ({error})") from error


def _fits(variant: Variant, told: _Told, include: Collection[str]) -> bool:
    """Whether the variant's files are there, and the source's own configuration agrees."""
    if _chosen(variant, told.files, include).lacking:
        return False
    settings = variant.settings
    if settings is None or not _tells(settings, told.files):
        return True
    try:
        return settings.fits(told.contents(settings))
    except (KeyError, TypeError, AttributeError):
        return False


def _configured(port: Port, variant: Variant, told: _Told) -> Variant:
    """The variant with the configuration that the source tells, which is checked as one from a folder is."""
    settings = variant.settings
    if settings is None or not _tells(settings, told.files):
        return variant
    where = " and ".join(str(told.path(name)) for name in settings.files)
    try:
        fields = port.dump_config(settings.config(told.contents(settings)))
        return replace(variant, config=port.parse_config(fields))
    except KeyError as error:
        raise SourceError(f"{where}: no {error.args[0]!r}, which {port.name} needs; {AS_PUBLISHED}") from error
    except (TypeError, ValueError, ArithmeticError, AttributeError, ConfigError) as error:
        raise SourceError(f"{where}: not as {port.name} has it: {error}; {AS_PUBLISHED}") from error


def _matched(source: hub.Source, port: Port, variant: Variant, chosen: _Chosen) -> Match:
    files = {prefix: source.path / name for prefix, name in chosen.parts.items()}
    assets = {target: {name: source.path / name for name in names} for target, names in chosen.assets.items()}
    packaged = {}
    for part in variant.parts:
        if part.package:
            packaged[part.prefix] = _package(part.package)
            files[part.prefix] = _packaged_file(part.package, part.files, packaged[part.prefix])
    packaged_assets = {}
    for asset in variant.assets:
        if asset.package:
            package = _package(asset.package)
            found = {name: _packaged_file(asset.package, (name,), package) for name in asset.files}
            packaged_assets[asset.target] = (package, found)
    return Match(source, port, variant, files, assets, packaged, packaged_assets)


def _package(name: str) -> hub.Source:
    """A package that ships what the source has not: as installed, else from its environment, built if need be."""
    try:
        return hub.resolve(f"package:{name}", search_paths=environments.search_paths())
    except SourceError:
        environments.install(environments.get(name))
        return hub.resolve(f"package:{name}", search_paths=environments.search_paths())


def _packaged_file(package: str, names: Sequence[str], source: hub.Source) -> Path:
    found = next((source.path / name for name in names if (source.path / name).is_file()), None)
    if found is None:
        raise SourceError(f"package {package} {source.revision} has no {' or '.join(names)}; install another")
    return found


def _candidates(port: str | None, variant: str | None) -> list[tuple[Port, Variant]]:
    ports = [registry.get(name) for name in ([port] if port else registry.names())]
    found = [(p, v) for p in ports for v in p.variants.values() if variant in (None, v.name)]
    found += [(p, v) for p in ports for v in p.imports.values() if v.name == variant]
    if not found:
        known = ", ".join(v for p in ports for v in (*p.variants, *p.imports))
        raise UsageError(f"--variant {variant}: no such variant; known: {known}")
    return found


def _check_include(include: AbstractSet[str], candidates: Sequence[tuple[Port, Variant]]) -> None:
    optional = {each.optional for _, v in candidates for each in (*v.parts, *v.assets) if each.optional}
    for name in sorted(include - optional):
        known = ", ".join(sorted(optional)) or "no model here has one"
        raise UsageError(f"--include-{name.replace('_', '-')}: no such optional part; known: {known}")


def _is_one_file(variant: Variant) -> bool:
    alone = len(variant.parts) == 1 and not variant.parts[0].package
    told = variant.settings is not None and not variant.settings.generic
    return alone and not told and all(asset.package for asset in variant.assets)


@dataclass(frozen=True)
class _Chosen:
    """Names within a source: each part's file by prefix, each asset's files by target, and what is not there."""

    parts: Mapping[str, str] = field(default_factory=dict)
    assets: Mapping[str, Sequence[str]] = field(default_factory=dict)
    lacking: Sequence[str] = ()

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys([*self.parts.values(), *(name for names in self.assets.values() for name in names)]))


def _chosen(variant: Variant, files: _Files, include: Collection[str]) -> _Chosen:
    """Each wanted part's file and each wanted asset's files among those present, and what is lacking."""
    present = files.present
    parts: dict[str, str] = {}
    assets: dict[str, list[str]] = {}
    lacking: list[str] = []
    nameless: tuple[str, ...] = ()
    if variant.settings is not None and not _tells(variant.settings, files):
        nameless = variant.settings.generic
        if not nameless:
            lacking += itertools.filterfalse(present, variant.settings.files)
    for part in variant.parts:
        if part.package or (part.optional and part.optional not in include):
            continue
        name = next((f for f in part.files if present(f) and f not in nameless), None)
        if name is None:
            lacking.append(" or ".join(part.files))
        else:
            parts[part.prefix] = name
    for asset in variant.assets:
        if asset.package or (asset.optional and asset.optional not in include):
            continue
        like = {pattern: files.like(pattern) for pattern in asset.patterns}
        lacking += itertools.filterfalse(present, asset.files)
        lacking += (pattern for pattern, names in like.items() if not names)
        assets[asset.target] = [
            *asset.files,
            *filter(present, asset.helpful),
            *itertools.chain.from_iterable(like.values()),
        ]
    return _Chosen(parts, assets, lacking)


def _tells(settings: Settings, files: _Files) -> bool:
    """Whether the files are there."""
    return all(map(files.present, settings.files))


def _patterns(files: Collection[str]) -> list[str]:
    """The files, and the shards of those that are indexes."""
    patterns = list(files)
    for name in files:
        stem, index, _ = name.partition(".index.json")
        if index:
            base, _, suffix = stem.rpartition(".")
            patterns.append(f"{base}-*.{suffix}")
    return patterns


def _lacking(variant: Variant, told: _Told | None) -> Sequence[str]:
    """What a variant also needs, of a local source that has its checkpoint under a name of its own; else nothing."""
    if told is None or variant.settings is None:  # a repository's checkpoint is not fetched for a message
        return ()
    first, known = variant.parts[0], [name for _, each in _candidates(None, None) for name in each.parts[0].files]
    own = next((name for name in first.files if told.files.present(name) and known.count(name) == 1), None)
    if own is None:
        return ()
    try:
        with open_checkpoint(told.path(own)) as checkpoint:
            return _chosen(variant, told.files, ()).lacking if _forms(first, checkpoint) else ()
    except CheckpointError:
        return ()


def _only(
    source: str,
    candidates: Sequence[tuple[Port, Variant]],
    fits: Callable[[Variant], bool],
    told: _Told | None = None,
) -> tuple[Port, Variant]:
    """The one candidate that fits; where none does and `told` is local, says what a known checkpoint lacks."""
    fitting = [each for each in candidates if fits(each[1])]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise SourceError(f"{source} holds several models; choose one with --variant: {_listed(fitting)}")
    others = [each for each in _candidates(None, None) if fits(each[1])]
    if others:
        raise UnrecognisedSourceError(
            f"{source} holds {_listed(others)}, not {_listed(candidates)}; choose another --variant, --model or source"
        )
    for port, variant in candidates:
        if lacking := _lacking(variant, told):
            raise UnrecognisedSourceError(
                f"{source} has the weights of {variant.name} ({port.name}), which also needs {', '.join(lacking)}; "
                "give a folder that has all of them"
            )
    ports = {port.name: port for port, _ in candidates}
    known = ", ".join(f"{name} ({', '.join(port.variants)})" for name, port in ports.items())
    imports = [variant for port in ports.values() for variant in port.imports.values()]
    asked = "".join(f"; only if asked for: --variant {each.name} ({each.summary})" for each in imports)
    raise UnrecognisedSourceError(f"{source} is none of the models known by name: {known}{asked}")


def _listed(candidates: Sequence[tuple[Port, Variant]]) -> str:
    return ", ".join(f"{variant.name} ({port.name})" for port, variant in candidates)


def _forms(part: Part, checkpoint: Checkpoint) -> list[Part]:
    """Those of a part and of what there may be instead whose signature the checkpoint has."""
    return [
        each
        for each in (part, *part.instead)
        if all(_shape(checkpoint, name) == shape for name, shape in each.signature.items())
    ]


def _shape(checkpoint: Checkpoint, name: str) -> tuple[int, ...] | None:
    """Of a tensor; None if there is none."""
    return checkpoint.info(name).shape if name in checkpoint else None


def _checked(found: Match) -> Match:
    """The match with each part in the form that its checkpoint has."""
    taken: dict[str, Part] = {}
    for part in found.parts:
        path = found.files[part.prefix]
        with open_checkpoint(path) as checkpoint:
            if reason := next((reason for name, reason in part.refused.items() if name in checkpoint), ""):
                raise UnrecognisedSourceError(f"{path.name} {reason}")
            forms = _forms(part, checkpoint)
            if not forms:
                wanted = " or ".join(
                    ", ".join(f"{name} {shape}" for name, shape in form.signature.items() if shape is not None)
                    for form in (part, *part.instead)
                )
                raise UnrecognisedSourceError(
                    f"{path.name} is not {found.port.name} {found.variant.name}: it lacks {wanted}; choose another "
                    "--variant or source"
                )
            taken[part.prefix] = forms[0]
    parts = tuple(taken.get(part.prefix, part) for part in found.variant.parts)
    return replace(found, variant=replace(found.variant, parts=parts))
